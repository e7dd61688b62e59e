//! Rotation of the signing key on three replicas, by rolling restarts, without refusing a valid
//! token.

use merch_api::SigningKey;
use merch_contract::grpc::assistant::v1 as proto;
use uuid::Uuid;

use crate::support::Api;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// A step of docs/operations.md: the signing key and the verify-only keys.
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
    api.db.list_orders.returns(move |request| {
        assert_eq!(request.caller.unwrap().user_id, user.to_string());
        Ok(proto::ListOrdersResponse::default())
    });
    api
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_rotation_refuses_no_valid_token() {
    let user = Uuid::now_v7();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(BEFORE, user).await);
    }
    let mut old_tokens = Vec::new();
    let mut new_tokens = Vec::new();
    let mut checked = 0;
    for (number, step) in STEPS.into_iter().enumerate() {
        let last = number == STEPS.len() - 1;
        for restarted in 0..replicas.len() {
            replicas[restarted] = replica(step, user).await;
            for replica in &replicas {
                let token = replica.token(user).await;
                if signed_by_new(&token) {
                    new_tokens.push(token)
                } else {
                    old_tokens.push(token)
                };
            }
            // Checks every token at every replica. In the last step the tokens of the old key have
            // expired: it starts a token lifetime after the second one.
            let valid = new_tokens.iter().chain(old_tokens.iter().filter(|_| !last));
            for token in valid {
                for (index, replica) in replicas.iter().enumerate() {
                    let response = replica.get_as(token, "/orders").await;
                    assert_eq!(
                        response.status,
                        200,
                        "step {number}, restarted {restarted}, asked {index}: {}",
                        response.json()
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(!old_tokens.is_empty() && !new_tokens.is_empty() && checked > 100, "{checked}");
    for replica in &replicas {
        replica.get_as(&old_tokens[0], "/orders").await.assert_problem(401, "token_invalid");
    }
}

fn signed_by_new(token: &str) -> bool {
    crate::support::parts(token).0["kid"] == SigningKey::new(NEW).unwrap().id()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipped_rotation_step_refuses_tokens() {
    let user = Uuid::now_v7();
    let behind = replica(BEFORE, user).await;
    let ahead = replica(STEPS[1], user).await;
    let token = ahead.token(user).await;
    behind.get_as(&token, "/orders").await.assert_problem(401, "token_invalid");
    assert_eq!(ahead.get_as(&behind.token(user).await, "/orders").await.status, 200);
}
