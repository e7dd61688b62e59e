//! The operation at `/`, which returns a greeting.

use merch_contract::{OPENAPI_YAML, rest::server as rest};

use super::Handlers;

impl rest::Dialog for Handlers {
    async fn greet(&self) -> rest::GreetResponse {
        rest::GreetResponse::Ok { body: self.greeting.clone() }
    }
}

pub(super) fn greeting() -> rest::Greeting {
    #[derive(serde::Deserialize)]
    struct Document {
        info: Info,
    }
    #[derive(serde::Deserialize)]
    struct Info {
        version: String,
    }
    let document: Document = serde_norway::from_str(OPENAPI_YAML)
        .expect("openapi.yaml is valid YAML: the code is generated from it");
    rest::Greeting {
        greeting: "Welcome to the SUSTech Merch Store!".to_owned(),
        version: document.info.version,
        links: rest::GreetingLinks {
            docs: "/docs".to_owned(),
            openapi_yaml: "/openapi.yaml".to_owned(),
            openapi_json: "/openapi.json".to_owned(),
        },
    }
}
