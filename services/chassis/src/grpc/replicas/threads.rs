//! Models of threads that share the balancer.

use std::{net::Ipv4Addr, sync::Arc};

use simulator::threads::{Fault, assert_found, block_on, check, spawn};
use tonic::{Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{
    balancer::{Balancer, RemovalReason, Subchannel},
    channel::Channel,
};
use crate::grpc::transport::Address;

/// A connection that stays open.
#[derive(Clone, Debug, Default)]
struct Open(Arc<()>);

impl Channel for Open {
    fn is_closed(&self) -> bool {
        false
    }

    async fn closed(&self) {
        std::future::pending().await
    }

    fn is_untrusted(&self) -> bool {
        false
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    async fn check_health(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        std::future::pending().await
    }
}

fn address(replica: u8) -> Address {
    Address::Tcp((Ipv4Addr::new(10, 0, 0, replica), 1).into())
}

/// Two calls and a stream wait for replicas. The first replica recovers on its connection and then
/// fails; the second one stays.
fn model(service: &'static str) -> impl Fn() + Send + Sync + 'static {
    move || {
        let balancer = Arc::new(Balancer::<Open>::new(service));
        let call = || {
            let balancer = Arc::clone(&balancer);
            spawn(move || drop(block_on(balancer.wait_for_pick(&mut Vec::new())).unwrap()))
        };
        let stream = {
            let balancer = Arc::clone(&balancer);
            spawn(move || {
                let guard = block_on(balancer.wait_for_pick_by_hash(1));
                if guard.address() == address(1) {
                    block_on(guard.unreachable());
                    assert!(guard.is_replaced(), "an unreachable replica is replaced");
                }
            })
        };
        let first = {
            let balancer = Arc::clone(&balancer);
            spawn(move || {
                let connection = Open::default();
                balancer.add(Subchannel::new(address(1), connection.clone()));
                balancer.eject(&address(1));
                balancer.add(Subchannel::new(address(1), connection));
                balancer.remove(&address(1), RemovalReason::Silent);
            })
        };
        let threads = [call(), call(), stream, first];
        balancer.add(Subchannel::new(address(2), Open::default()));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(balancer.in_flight(), 0, "calls in flight");
        assert_eq!((balancer.serving(), balancer.metrics.serving.get()), (1, 1), "replicas");
    }
}

#[test]
fn waiters_get_replicas_and_guards_see_removals() {
    check(model("threads"));
}

#[test]
fn missed_change_of_the_replicas_is_found() {
    assert_found(Some(Fault::LateSubscription), "deadlock", model("missed change"));
}

#[test]
fn torn_count_of_calls_in_flight_is_found() {
    assert_found(Some(Fault::TornUpdates), "calls in flight", model("torn count"));
}
