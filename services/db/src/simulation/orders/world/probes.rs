//! Calls after the last fault, which must be served.

use merch_contract::grpc::assistant::v1::ErrorReason;
use simulator::locked;

use super::{Reply, WRITES_PER_USER, World};
use crate::{
    failure::Failure,
    simulation::orders::{plan::USERS, server::user_id},
    store::{
        Caller, Context,
        committer::Queue,
        place::{NewOrder, OrderOutcome},
    },
};

impl World {
    /// After the last fault, an order of each user is answered.
    pub(super) async fn probe(&self, user: usize) {
        for replica in 0..self.replicas.len() {
            let order = NewOrder {
                context: Context::default(),
                caller: Caller {
                    user_id: user_id(user),
                    token_version: locked(&self.versions)[user],
                },
                product_id: 1,
                quantity: 1,
                idempotency_key: None,
                deadline: None,
            };
            let id = format!("probe {user}.{replica}");
            let replies = self.call(id.clone(), vec![order], replica, None).await;
            let is_unserved = |reply: &Reply| {
                matches!(
                    reply,
                    Reply::Unknown(_)
                        | Reply::Refused(_)
                        | Reply::Outcome(OrderOutcome::Refused(ErrorReason::TooManyWrites))
                )
            };
            if replies.iter().any(is_unserved) {
                self.fail_probe(&id).await;
            }
        }
    }

    /// Nothing is in flight any more, so that the queue of each replica has room for as many orders
    /// as it may hold, and each user for as many as a user may have.
    pub(super) async fn probe_permits(&self) {
        let refused = |caller| NewOrder {
            context: Context::default(),
            caller,
            product_id: 99,
            quantity: 1,
            idempotency_key: None,
            deadline: None,
        };
        let strangers = (0..self.plan.queue.max(self.plan.batch))
            .map(|number| Caller { user_id: user_id(USERS + number), token_version: 1 });
        let strangers: Vec<NewOrder> = strangers.map(refused).collect();
        for (number, replica) in self.replicas.iter().enumerate() {
            let queue = locked(&replica.process).queue.clone();
            let versions = *locked(&self.versions);
            let user = |user| Caller { user_id: user_id(user), token_version: versions[user] };
            let calls = (0..USERS)
                .map(|number| vec![refused(user(number)); WRITES_PER_USER])
                .chain([strangers.clone()]);
            for orders in calls {
                let count = orders.len();
                // More orders of users than the queue holds are not a call of one user.
                if count > strangers.len() {
                    continue;
                }
                let too_many = OrderOutcome::Refused(ErrorReason::TooManyWrites);
                let outcomes = queue.place(orders).await;
                if !outcomes.is_ok_and(|all| all.len() == count && !all.contains(&too_many)) {
                    self.fail_probe(&format!("a call of {count} orders at replica {number}")).await;
                }
            }
            self.probe_limits(&queue, &vec![refused(user(0)); WRITES_PER_USER], &strangers).await;
        }
    }

    /// A user and a queue have no room for more.
    async fn probe_limits(&self, queue: &Queue, of_user: &[NewOrder], of_all: &[NewOrder]) {
        let one_more = of_user[..1].to_vec();
        // The committer has not answered the first call when the second one begins.
        let (_, second) =
            tokio::join!(queue.place(of_user.to_vec()), queue.place(one_more.clone()));
        let too_many = OrderOutcome::Refused(ErrorReason::TooManyWrites);
        if of_user.len() < of_all.len() && !second.is_ok_and(|outcomes| outcomes == [too_many]) {
            self.fail_probe("the limit of a user").await;
        }
        let outcomes = queue.place([of_all, &one_more].concat()).await;
        if !matches!(outcomes, Err(Failure::Refused(ErrorReason::Overloaded))) {
            self.fail_probe("the limit of the queue").await;
        }
    }

    /// Never ends, so that it counts as unanswered.
    async fn fail_probe(&self, what: &str) {
        self.notes.note(format!("{what} is not served after the last fault"));
        std::future::pending().await
    }
}
