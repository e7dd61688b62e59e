//! Opens the connections of a client.

use std::io;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{
    Address, Io, Tls, Trust,
    tls::{Side, role},
    unix,
};
use crate::{StartError, grpc::role::host};

#[derive(Clone, Debug, Default)]
pub(in crate::grpc) struct Dialer(Option<(Tls, ServerName<'static>)>);

impl Dialer {
    /// Returns a dialer that requires a server certificate for `role`, at any address.
    pub(in crate::grpc) fn with_tls(tls: Tls, role: &str) -> Result<Self, StartError> {
        let name = ServerName::try_from(host(role)).map_err(|error| {
            StartError::new(format!(
                "the role `{role}` is not a valid host name: {error}; expected a DNS label"
            ))
        })?;
        Ok(Self(Some((tls, name))))
    }

    pub(in crate::grpc) async fn connect(
        &self,
        address: &Address,
    ) -> io::Result<(Io, Option<Trust>)> {
        let address = match address {
            Address::Unix(path) => return Ok((Io::Unix(unix::connect(path).await?), None)),
            Address::Tcp(address) => address,
        };
        let stream = TcpStream::connect(address).await?;
        // Nagle's algorithm could delay requests. A socket may reject the option.
        let _ = stream.set_nodelay(true);
        match &self.0 {
            None => Ok((Io::Tcp(stream), None)),
            Some((tls, name)) => {
                let stream = tls.connector().connect(name.clone(), stream).await?;
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                // TLS accepts any certificate that is valid for the name, also a wildcard.
                if chain.first().and_then(role).is_none_or(|role| role.host() != name.to_str()) {
                    let name = name.to_str();
                    let message =
                        format!("the server's certificate does not name {name} as its only role");
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
                }
                let trust = Trust::new(tls.clone(), Side::Server(name.clone()), chain);
                Ok((Io::Tls(Box::new(stream.into())), Some(trust)))
            }
        }
    }
}
