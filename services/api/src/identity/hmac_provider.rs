//! The cryptography of tokens for `jsonwebtoken`: HMAC with SHA-2, and nothing else.
//!
//! The providers that `jsonwebtoken` brings compile a whole library of C, or RSA and elliptic
//! curves. Neither is of use to a store that pins HS256.

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

/// Makes this the provider of the process. Does nothing when it is already.
pub(super) fn install() {
    // The library takes the first one; another could only come from another caller, and there is
    // none.
    let _ = PROVIDER.install_default();
}

/// One algorithm with one key.
struct Keyed<M> {
    algorithm: Algorithm,
    mac: M,
}

macro_rules! keyed {
    ($($digest:ty),*) => {$(
        impl Signer<Vec<u8>> for Keyed<Hmac<$digest>> {
            fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
                Ok(self.mac.clone().chain_update(message).finalize().into_bytes().to_vec())
            }
        }

        impl Verifier<Vec<u8>> for Keyed<Hmac<$digest>> {
            fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
                // Compares in constant time.
                self.mac.clone().chain_update(message).verify_slice(signature).map_err(|_| signature::Error::new())
            }
        }

        impl JwtSigner for Keyed<Hmac<$digest>> {
            fn algorithm(&self) -> Algorithm {
                self.algorithm
            }
        }

        impl JwtVerifier for Keyed<Hmac<$digest>> {
            fn algorithm(&self) -> Algorithm {
                self.algorithm
            }
        }
    )*};
}

keyed! { Sha256, Sha512 }

macro_rules! choose {
    ($algorithm:expr, $secret:expr) => {
        match $algorithm {
            Algorithm::HS256 => Ok(Box::new(Keyed {
                algorithm: Algorithm::HS256,
                mac: mac::<Hmac<Sha256>>($secret)?,
            })),
            Algorithm::HS512 => Ok(Box::new(Keyed {
                algorithm: Algorithm::HS512,
                mac: mac::<Hmac<Sha512>>($secret)?,
            })),
            _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
        }
    };
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    only_secrets(key.family())?;
    choose!(algorithm, key.as_bytes())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    only_secrets(key.family())?;
    choose!(algorithm, key.try_get_as_bytes()?)
}

/// Refuses a public or private key: its bytes must never be taken for a shared secret.
fn only_secrets(family: AlgorithmFamily) -> Result<()> {
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
        // A shorter signature is no prefix that counts, and an empty one least of all.
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
    fn signatures_are_those_of_the_standard() {
        assert_eq!(
            hex(&sign(Algorithm::HS256)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(hex(&sign(Algorithm::HS512)).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3"));
    }

    #[test]
    fn other_algorithms_and_other_kinds_of_keys_are_refused() {
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
        // A public key whose bytes an attacker knows.
        assert!(verifier(&Algorithm::HS256, &DecodingKey::from_rsa_der(b"public")).is_err());
        assert!(signer(&Algorithm::HS256, &EncodingKey::from_ec_der(b"private")).is_err());
    }
}
