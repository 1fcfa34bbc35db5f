//! Query parameters, read strictly: each at most once unless it may repeat, and none that nobody knows.

use crate::{credential::joined, json::quoted};

use super::problem::Problem;

/// The decoded parameters of a query string (`application/x-www-form-urlencoded`).
#[derive(Debug)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    /// Decodes the part of a URL behind `?`, without it.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        Parameters { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    /// Those that stand elsewhere than in a query string.
    #[must_use]
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        Parameters { pairs }
    }

    /// Takes a parameter that may stand once.
    ///
    /// # Errors
    /// 400 when it stands twice.
    pub fn once(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(Problem::field(name, format!("The parameter {name} may stand only once.")));
        }
        Ok(values.pop())
    }

    /// Takes a parameter that may stand several times.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.pairs).into_iter().partition(|(key, _)| key == name);
        self.pairs = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Ends the reading: nothing may be left.
    ///
    /// # Errors
    /// 400 naming a parameter that was not asked for, and those that can be used.
    pub fn finish(self, known: &[&str]) -> Result<(), Problem> {
        match self.pairs.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let takes = if known.is_empty() { "none".into() } else { joined(known, ", ") };
                let detail = format!("There is no parameter {} here; it takes {takes}.", quoted(&name));
                Err(Problem::field(name, detail))
            }
        }
    }
}
