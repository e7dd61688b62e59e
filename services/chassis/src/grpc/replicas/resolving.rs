//! From names to addresses, again and again: a replica that is started is found, one that is gone
//! is forgotten.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::transport::Address,
    choosing::Set,
    endpoints::{Endpoints, Host, Target},
    probing,
};

/// Between two look-ups of a name: fast enough for "at least once a second" even if one takes half
/// of that.
const LOOK_UP_EVERY: Duration = Duration::from_millis(500);

/// What [`Resolve::resolve`] returns: the addresses, none of them twice.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Who knows the addresses behind a name.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host` now. An error, and no address at all, leave the last answer as it
    /// is.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolved<'a>;
}

/// The system's own resolver: `/etc/hosts`, then DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolved<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// A replica's address in use.
struct Probed {
    unlisted: CancellationToken,
    task: JoinHandle<()>,
}

/// Follows the addresses of `endpoints` until `stop` is cancelled: each gets a task that probes it,
/// and loses it when it is no longer listed.
pub(super) async fn follow(
    endpoints: Endpoints,
    resolver: Arc<dyn Resolve>,
    service: &'static str,
    set: Arc<Set>,
    stop: CancellationToken,
) {
    let targets = endpoints.targets();
    let (answers, mut answered) = mpsc::channel(targets.len().max(1));
    // Each name has a task of its own, so that one which does not answer does not hold up the
    // others. They end with this function.
    let mut looking_up = JoinSet::new();
    let mut addresses: Vec<Vec<Address>> = vec![Vec::new(); targets.len()];
    for (index, target) in targets.iter().enumerate() {
        match target {
            Target::Fixed(address) => addresses[index] = vec![address.clone()],
            Target::Name(host) => {
                looking_up.spawn(look_up(
                    endpoints.of(),
                    host.clone(),
                    index,
                    Arc::clone(&resolver),
                    answers.clone(),
                ));
            }
        }
    }
    drop(answers);
    let mut probed: HashMap<Address, Probed> = HashMap::new();
    loop {
        let listed: HashSet<Address> = addresses.iter().flatten().cloned().collect();
        let gone: Vec<Address> =
            probed.keys().filter(|address| !listed.contains(address)).cloned().collect();
        for Probed { unlisted, task } in gone.iter().filter_map(|address| probed.remove(address)) {
            unlisted.cancel();
            // Waited for, as the address may come back, and then there must not be two of them. It
            // ends at once.
            if let Err(error) = task.await {
                tracing::error!(%error, "a task that probes a replica ended with a bug");
            }
        }
        for address in listed {
            probed.entry(address.clone()).or_insert_with(|| {
                let unlisted = CancellationToken::new();
                let dialer = endpoints.dialer().clone();
                let task = tokio::spawn(probing::probe(
                    address,
                    dialer,
                    service,
                    Arc::clone(&set),
                    unlisted.clone(),
                ));
                Probed { unlisted, task }
            });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some((index, answer)) = answered.recv(), if !looking_up.is_empty() => addresses[index] = answer,
        }
    }
    // Nobody calls any more: there is nothing to tell.
    for Probed { task, .. } in probed.into_values() {
        task.abort();
    }
}

/// Looks a name up again and again, and tells of each answer that differs from the one before.
async fn look_up(
    of: &'static str,
    host: Host,
    index: usize,
    resolver: Arc<dyn Resolve>,
    answers: mpsc::Sender<(usize, Vec<Address>)>,
) {
    let mut last = Vec::new();
    let mut failing = false;
    loop {
        match resolver.resolve(&host.name, host.port).await {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                failing = false;
                if addresses != last {
                    tracing::debug!(
                        service = of,
                        host = host.name,
                        ?addresses,
                        "a name has other addresses now"
                    );
                    last.clone_from(&addresses);
                    let addresses = addresses.into_iter().map(Address::Tcp).collect();
                    if answers.send((index, addresses)).await.is_err() {
                        return;
                    }
                }
            }
            answer => {
                // Told once: a name that is gone for an hour is one line, not thousands.
                if !failing {
                    let error = answer
                        .err()
                        .map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        service = of,
                        host = host.name,
                        error,
                        known = last.len(),
                        "a name cannot be looked up; its last addresses are kept"
                    );
                }
                failing = true;
            }
        }
        sleep(LOOK_UP_EVERY).await;
    }
}
