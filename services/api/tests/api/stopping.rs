//! Before the drain: an api that says it is not ready, and serves who comes all the same.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Api, eventually, within};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: api\r\n\r\n";

/// Sends a request on an open connection and reads the head of its answer.
async fn head(connection: &mut TcpStream) -> String {
    connection.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let length = within("an answer", connection.read(&mut bytes)).await.unwrap();
        assert!(length > 0, "closed without an answer: {answer}");
        answer.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    answer.to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_is_the_last_of_its_connection_and_none_is_lost() {
    let api = Api::start().await;
    eventually("it is ready", || api.readiness.check().is_ok()).await;
    let mut kept = TcpStream::connect(api.address).await.unwrap();
    let mut idle = TcpStream::connect(api.address).await.unwrap();
    for connection in [&mut kept, &mut idle] {
        let head = head(connection).await;
        assert!(head.starts_with("http/1.1 200") && !head.contains("connection: close"), "{head}");
    }

    api.readiness.stop();
    assert_eq!(api.readiness.check(), Err(vec![("process", "shutting down".to_owned())]));
    // A new connection is served.
    let mut fresh = TcpStream::connect(api.address).await.unwrap();
    for connection in [&mut kept, &mut fresh] {
        let head = head(connection).await;
        assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
        let mut rest = Vec::new();
        within("it is closed", connection.read_to_end(&mut rest)).await.unwrap();
    }

    // One that is idle stays, and may still ask, until the drain begins.
    let mut byte = [0];
    assert!(idle.try_read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    api.shutdown.cancel();
    assert_eq!(within("it is closed", idle.read(&mut byte)).await.unwrap(), 0);
    within("it ends", api.serving).await.unwrap();
}
