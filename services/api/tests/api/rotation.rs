//! The signing key is changed under three replicas, one restart after the other, and no valid token
//! is refused at any moment.

use merch_api::SigningKey;
use merch_contract::grpc::assistant::v1 as proto;
use uuid::Uuid;

use crate::support::Api;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// One step of docs/operations.md: the key that signs, and those that verify only.
type Step = ([u8; 32], &'static [[u8; 32]]);

const BEFORE: Step = (OLD, &[]);
const STEPS: [Step; 3] = [(OLD, &[NEW]), (NEW, &[OLD]), (NEW, &[])];

async fn replica((signs, verify): Step, user: Uuid) -> Api {
    let key = |secret: [u8; 32]| SigningKey::new(secret).unwrap();
    let api = Api::start_with(|config| {
        config.signing_key = key(signs);
        config.verify_keys = verify.iter().copied().map(key).collect();
    })
    .await;
    api.db.list_orders.answers(move |request| {
        assert_eq!(request.caller.unwrap().user_id, user.to_string());
        Ok(proto::ListOrdersResponse::default())
    });
    api
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rolling_restarts_refuse_no_token() {
    let user = Uuid::now_v7();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(BEFORE, user).await);
    }
    let mut of_old = Vec::new();
    let mut of_new = Vec::new();
    let mut checked = 0;
    for (number, step) in STEPS.into_iter().enumerate() {
        let last = number == STEPS.len() - 1;
        for restarted in 0..replicas.len() {
            replicas[restarted] = replica(step, user).await;
            for replica in &replicas {
                let token = replica.token(user).await;
                if signed_by_new(&token) {
                    of_new.push(token)
                } else {
                    of_old.push(token)
                };
            }
            // Every token, wherever and whenever it was given, at every replica. In the last step
            // those of the old key have expired: it begins a token's lifetime after the second one.
            let valid = of_new.iter().chain(of_old.iter().filter(|_| !last));
            for token in valid {
                for (index, replica) in replicas.iter().enumerate() {
                    let answer = replica.get_as(token, "/orders").await;
                    assert_eq!(
                        answer.status,
                        200,
                        "step {number}, restarted {restarted}, asked {index}: {}",
                        answer.json()
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(!of_old.is_empty() && !of_new.is_empty() && checked > 100, "{checked}");
    for replica in &replicas {
        replica.get_as(&of_old[0], "/orders").await.assert_problem(401, "token_invalid");
    }
}

fn signed_by_new(token: &str) -> bool {
    crate::support::parts(token).0["kid"] == SigningKey::new(NEW).unwrap().id()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_left_out_refuses_tokens() {
    let user = Uuid::now_v7();
    let behind = replica(BEFORE, user).await;
    let ahead = replica(STEPS[1], user).await;
    let token = ahead.token(user).await;
    behind.get_as(&token, "/orders").await.assert_problem(401, "token_invalid");
    assert_eq!(ahead.get_as(&behind.token(user).await, "/orders").await.status, 200);
}
