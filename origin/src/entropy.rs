//! Randomness as a parameter.

use std::sync::Arc;
use uuid::{Builder, Uuid};

/// Gives random bytes fit for keys.
pub(crate) trait Entropy: std::fmt::Debug + Send + Sync {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// How the source is passed on.
pub(crate) type SharedEntropy = Arc<dyn Entropy>;

impl dyn Entropy + '_ {
    /// An array of random bytes.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random (version 4) UUID.
    pub(crate) fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

/// The operating system's generator.
#[derive(Debug)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "a system without randomness cannot keep one promise of this service"
        )]
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Entropy;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Reproducible, and different at each call.
    #[derive(Debug, Default)]
    pub(crate) struct CountingEntropy(AtomicU64);

    impl Entropy for CountingEntropy {
        fn fill(&self, buffer: &mut [u8]) {
            use sha2::{Digest, Sha256};
            for chunk in buffer.chunks_mut(32) {
                let block = Sha256::digest(self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
                chunk.copy_from_slice(&block[..chunk.len()]);
            }
        }
    }
}
