//! Peppers: the secrets under which API keys are hashed.

use super::secret::{NumberedSecret, SecretError, SecretKey};

/// A secret under which keys are minted and recognised. Whoever has it can make texts that look like keys, but the
/// records they would need do not exist.
#[derive(Clone, Debug)]
pub struct Pepper {
    id: u8,
    secret: SecretKey,
}

impl Pepper {
    /// Reads `id:hex`, with an id from 0 to 15 and 32 to 64 bytes.
    ///
    /// # Errors
    /// [`SecretError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let NumberedSecret { id, key } = NumberedSecret::parse(text)?;
        Ok(Self { id, secret: key })
    }

    /// The id, from 0 to 15, that the keys minted with this pepper bear.
    pub const fn id(&self) -> u8 {
        self.id
    }

    pub(super) const fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

/// The peppers of a deployment. Both recognise keys, the first mints them.
///
/// To change peppers: add the new one second, deploy everywhere, then swap them. The old one stays for as long as
/// keys minted with it shall work.
#[derive(Clone, Debug)]
pub struct Peppers {
    first: Pepper,
    second: Option<Pepper>,
}

impl Peppers {
    /// The first mints, both recognise.
    ///
    /// # Errors
    /// [`SecretError::SameId`] where a key could not say which of them it was minted with.
    pub fn new(first: Pepper, second: Option<Pepper>) -> Result<Self, SecretError> {
        if second.as_ref().is_some_and(|second| second.id == first.id) {
            return Err(SecretError::SameId { id: first.id });
        }
        Ok(Self { first, second })
    }

    /// The pepper for new keys.
    pub const fn minting(&self) -> &Pepper {
        &self.first
    }

    /// The pepper with this id.
    pub fn by_id(&self, id: u8) -> Option<&Pepper> {
        let second = self.second.iter().filter(|_| !crate::planted::planted!(SecondPepperUnread));
        std::iter::once(&self.first).chain(second).find(|pepper| pepper.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper(id: u8) -> Pepper {
        Pepper::parse(&format!("{id}:{}", "5a".repeat(32))).unwrap()
    }

    #[test]
    fn two_peppers_with_the_same_id_are_refused() {
        let refused = Peppers::new(pepper(4), Some(pepper(4)));
        assert_eq!(refused.err(), Some(SecretError::SameId { id: 4 }));
    }

    #[test]
    fn the_first_pepper_mints_and_both_are_found_by_their_ids() {
        let peppers = Peppers::new(pepper(4), Some(pepper(9))).unwrap();
        assert_eq!(peppers.minting().id(), 4);
        assert_eq!(peppers.by_id(4).map(Pepper::id), Some(4));
        assert_eq!(peppers.by_id(9).map(Pepper::id), Some(9));
        assert!(peppers.by_id(0).is_none());
        assert!(Peppers::new(pepper(4), None).unwrap().by_id(9).is_none());
    }

    #[test]
    fn debug_output_does_not_show_a_pepper() {
        let shown = format!("{:?}", Peppers::new(pepper(1), Some(pepper(2))).unwrap());
        assert!(!shown.contains("5a") && !shown.contains("90"), "{shown}");
        assert_eq!(shown.matches("<redacted>").count(), 2);
    }
}
