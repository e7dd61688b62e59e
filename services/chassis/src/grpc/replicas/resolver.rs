use std::{
    collections::{BTreeMap, BTreeSet},
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
    balancer::Balancer,
    channel::Connect,
    endpoints::{Endpoints, Host, Target},
    health_check,
};

/// New addresses are found within a second even if a lookup takes half of that.
const RESOLVE_INTERVAL: Duration = Duration::from_millis(500);

/// Addresses without duplicates, from [`Resolve::resolve`].
pub type ResolveFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// A name resolver.
pub trait Resolve: Send + Sync + 'static {
    /// Resolves `host`. On an error or an empty result, the last addresses stay in use.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a>;
}

/// The system's resolver: `/etc/hosts`, then DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> ResolveFuture<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

struct HealthCheck {
    unlisted: CancellationToken,
    task: JoinHandle<()>,
}

pub(super) async fn run<D: Connect>(
    endpoints: Endpoints,
    dialer: D,
    resolver: Arc<dyn Resolve>,
    service: &'static str,
    balancer: Arc<Balancer<D::Channel>>,
    stop: CancellationToken,
) {
    let targets = endpoints.targets();
    let (updates, mut received) = mpsc::channel(targets.len().max(1));
    // One task per name, so that a slow lookup does not delay the others. The tasks end with this
    // function.
    let mut lookups = JoinSet::new();
    let mut addresses: Vec<Vec<Address>> = vec![Vec::new(); targets.len()];
    for (index, target) in targets.iter().enumerate() {
        match target {
            Target::Fixed(address) => addresses[index] = vec![address.clone()],
            Target::Name(host) => {
                lookups.spawn(resolve_periodically(
                    endpoints.service(),
                    host.clone(),
                    index,
                    Arc::clone(&resolver),
                    updates.clone(),
                ));
            }
        }
    }
    drop(updates);
    let mut checks: BTreeMap<Address, HealthCheck> = BTreeMap::new();
    loop {
        let listed: BTreeSet<Address> = addresses.iter().flatten().cloned().collect();
        let gone: Vec<Address> =
            checks.keys().filter(|address| !listed.contains(address)).cloned().collect();
        for HealthCheck { unlisted, task } in
            gone.iter().filter_map(|address| checks.remove(address))
        {
            unlisted.cancel();
            // Awaited, so that an address that returns never has two health checks.
            if let Err(error) = task.await {
                tracing::error!(%error, "health check panicked; please report this bug");
            }
        }
        for address in listed {
            checks.entry(address.clone()).or_insert_with(|| {
                let unlisted = CancellationToken::new();
                let dialer = dialer.clone();
                let task = tokio::spawn(health_check::run(
                    address,
                    dialer,
                    service,
                    Arc::clone(&balancer),
                    unlisted.clone(),
                ));
                HealthCheck { unlisted, task }
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some((index, resolved)) = received.recv(), if !lookups.is_empty() => {
                addresses[index] = resolved;
            }
        }
    }
    for HealthCheck { task, .. } in checks.into_values() {
        task.abort();
    }
}

async fn resolve_periodically(
    service: &'static str,
    host: Host,
    index: usize,
    resolver: Arc<dyn Resolve>,
    updates: mpsc::Sender<(usize, Vec<Address>)>,
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
                        service,
                        host = host.name,
                        ?addresses,
                        "resolved addresses changed"
                    );
                    last.clone_from(&addresses);
                    let addresses = addresses.into_iter().map(Address::Tcp).collect();
                    if updates.send((index, addresses)).await.is_err() {
                        return;
                    }
                }
            }
            answer => {
                if !failing {
                    let error = answer
                        .err()
                        .map_or_else(|| "no address".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        service,
                        host = host.name,
                        error,
                        known = last.len(),
                        "failed to resolve name; keeping its last addresses"
                    );
                }
                failing = true;
            }
        }
        sleep(RESOLVE_INTERVAL).await;
    }
}
