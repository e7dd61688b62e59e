//! A crypto provider for `jsonwebtoken` with HMAC-SHA-2 only. Its own ones compile a C library, or
//! RSA and elliptic curves.

use hmac::{Hmac, KeyInit, Mac as _};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature::{self, Signer, Verifier},
};
use sha2::{Sha256, Sha512};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

pub(super) fn install() {
    // An error means that it is installed already.
    let _ = PROVIDER.install_default();
}

struct HmacKey<M> {
    algorithm: Algorithm,
    mac: M,
}

macro_rules! impl_hmac {
    ($($digest:ty),*) => {$(
        impl Signer<Vec<u8>> for HmacKey<Hmac<$digest>> {
            fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
                Ok(self.mac.clone().chain_update(message).finalize().into_bytes().to_vec())
            }
        }

        impl Verifier<Vec<u8>> for HmacKey<Hmac<$digest>> {
            fn verify(
                &self,
                message: &[u8],
                signature: &Vec<u8>,
            ) -> std::result::Result<(), signature::Error> {
                // In constant time.
                let mac = self.mac.clone().chain_update(message);
                mac.verify_slice(signature).map_err(|_| signature::Error::new())
            }
        }

        impl JwtSigner for HmacKey<Hmac<$digest>> {
            fn algorithm(&self) -> Algorithm {
                self.algorithm
            }
        }

        impl JwtVerifier for HmacKey<Hmac<$digest>> {
            fn algorithm(&self) -> Algorithm {
                self.algorithm
            }
        }
    )*};
}

impl_hmac! { Sha256, Sha512 }

macro_rules! with_digest {
    ($algorithm:expr, $secret:expr) => {
        match $algorithm {
            Algorithm::HS256 => Ok(Box::new(HmacKey {
                algorithm: Algorithm::HS256,
                mac: mac::<Hmac<Sha256>>($secret)?,
            })),
            Algorithm::HS512 => Ok(Box::new(HmacKey {
                algorithm: Algorithm::HS512,
                mac: mac::<Hmac<Sha512>>($secret)?,
            })),
            _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
        }
    };
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    require_hmac_key(key.family())?;
    with_digest!(algorithm, key.as_bytes())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    require_hmac_key(key.family())?;
    with_digest!(algorithm, key.try_get_as_bytes()?)
}

/// Rejects public and private keys: their bytes must never serve as a shared secret.
fn require_hmac_key(family: AlgorithmFamily) -> Result<()> {
    if family == AlgorithmFamily::Hmac { Ok(()) } else { Err(ErrorKind::InvalidKeyFormat.into()) }
}

fn mac<M: KeyInit>(secret: &[u8]) -> Result<M> {
    M::new_from_slice(secret).map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"what do ya want for nothing?";

    fn sign(algorithm: Algorithm) -> Vec<u8> {
        let signed = signer(&algorithm, &EncodingKey::from_secret(b"Jefe"))
            .unwrap()
            .try_sign(MESSAGE)
            .unwrap();
        let verifier = verifier(&algorithm, &DecodingKey::from_secret(b"Jefe")).unwrap();
        assert!(verifier.verify(MESSAGE, &signed).is_ok());
        assert!(verifier.verify(b"another message", &signed).is_err());
        for cut in [0, 1, signed.len() - 1] {
            assert!(verifier.verify(MESSAGE, &signed[..cut].to_vec()).is_err(), "{cut} bytes");
        }
        let mut longer = signed.clone();
        longer.push(0);
        assert!(verifier.verify(MESSAGE, &longer).is_err());
        let mut flipped = signed.clone();
        flipped[0] ^= 1;
        assert!(verifier.verify(MESSAGE, &flipped).is_err());
        signed
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 4231, test case 2.
    #[test]
    fn signatures_match_rfc_4231() {
        assert_eq!(
            hex(&sign(Algorithm::HS256)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(hex(&sign(Algorithm::HS512)).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3"));
    }

    #[test]
    fn other_algorithms_and_key_types_are_refused() {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS384] {
            assert!(
                signer(&algorithm, &EncodingKey::from_secret(b"Jefe")).is_err(),
                "{algorithm:?}"
            );
            assert!(
                verifier(&algorithm, &DecodingKey::from_secret(b"Jefe")).is_err(),
                "{algorithm:?}"
            );
        }
        // An attacker knows the bytes of a public key.
        assert!(verifier(&Algorithm::HS256, &DecodingKey::from_rsa_der(b"public")).is_err());
        assert!(signer(&Algorithm::HS256, &EncodingKey::from_ec_der(b"private")).is_err());
    }
}
