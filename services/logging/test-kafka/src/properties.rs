use std::path::Path;

use crate::{Certificates, MetadataMode};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    /// Port of the controller or of ZooKeeper.
    pub(crate) controller: u16,
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(|line| (*line).to_owned()).collect()
}

/// Settings that save resources without affecting clients.
pub(crate) fn common(brokers: usize) -> Vec<String> {
    let mut common = lines(&[
        "auto.create.topics.enable=false",
        "log.cleaner.enable=false",
        "num.network.threads=2",
        "num.io.threads=4",
        "background.threads=2",
        "offsets.topic.num.partitions=1",
        "group.initial.rebalance.delay.ms=0",
        // Detects a dead broker after 2 seconds instead of 9.
        "broker.session.timeout.ms=2000",
        "broker.heartbeat.interval.ms=500",
        "controlled.shutdown.enable=false",
    ]);
    common.push(format!("offsets.topic.replication.factor={brokers}"));
    common
}

pub(crate) fn kraft(number: usize, ports: &[Ports]) -> Vec<String> {
    let voters: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(id, ports)| format!("{}@127.0.0.1:{}", id + 1, ports.controller))
        .collect();
    vec![
        "process.roles=broker,controller".to_owned(),
        format!("node.id={}", number + 1),
        format!("controller.quorum.voters={}", voters.join(",")),
        "controller.listener.names=CONTROLLER".to_owned(),
    ]
}

pub(crate) fn zookeeper(number: usize, ports: Ports) -> Vec<String> {
    vec![
        format!("broker.id={}", number + 1),
        format!("zookeeper.connect=127.0.0.1:{}", ports.controller),
    ]
}

pub(crate) fn zoo_cfg(home: &Path, ports: Ports) -> String {
    format!(
        "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
        home.join("data").display(),
        ports.controller
    )
}

pub(crate) fn plain(metadata_mode: MetadataMode, host: &str, ports: Ports) -> Vec<String> {
    let client = format!("PLAINTEXT://{host}:{}", ports.client);
    match metadata_mode {
        MetadataMode::KRaft => vec![
            format!("listeners={client},CONTROLLER://127.0.0.1:{}", ports.controller),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
        ],
        MetadataMode::ZooKeeper => vec![format!("listeners={client}")],
    }
}

/// For a single broker, which connects to itself like a client.
pub(crate) fn sasl_ssl(host: &str, ports: Ports, certificates: &Certificates) -> Vec<String> {
    let login = "org.apache.kafka.common.security.scram.ScramLoginModule required";
    vec![
        format!(
            "listeners=CLIENTS://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
            ports.client, ports.controller
        ),
        format!("advertised.listeners=CLIENTS://{host}:{}", ports.client),
        "listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT".to_owned(),
        "inter.broker.listener.name=CLIENTS".to_owned(),
        "sasl.enabled.mechanisms=SCRAM-SHA-512".to_owned(),
        "sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512".to_owned(),
        format!(
            "listener.name.clients.scram-sha-512.sasl.jaas.config={login} username=\"{}\" \
             password=\"{}\";",
            crate::USER,
            crate::PASSWORD
        ),
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", certificates.server_file().display()),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.truststore.location={}", certificates.ca_file().display()),
    ]
}
