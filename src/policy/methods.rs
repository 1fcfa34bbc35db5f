//! The methods that a rule of the route table covers.
//!
//! The build script includes this file: it names nothing else of the crate.

use std::fmt;

/// A set of request methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u8);

/// What a rule can name. CONNECT and TRACE cannot reach a Worker.
const NAMES: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const GET: u8 = 1;
const HEAD: u8 = 2;

/// Stands for every method without a name here; only `*` has it.
const OTHER: u8 = 1 << 7;

impl Methods {
    /// `*`: every method, also those that have no name here.
    pub const ALL: Self = Self(u8::MAX);

    /// Reads the methods of a rule: `*` alone, or distinct names. GET covers HEAD too, which asks for the same without
    /// the content (RFC 9110 §9.3.2).
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, MethodsError> {
        let mut named = 0;
        let mut all = false;
        for (index, name) in names.into_iter().enumerate() {
            match bit(name) {
                _ if all || (name == "*" && index > 0) => return Err(MethodsError::AllAndMore { index }),
                _ if name == "*" => all = true,
                OTHER => return Err(MethodsError::Unknown { index }),
                bit if named & bit != 0 => return Err(MethodsError::Repeated { index }),
                bit => named |= bit,
            }
        }
        match named {
            _ if all => Ok(Self::ALL),
            0 => Err(MethodsError::Empty),
            _ if named & GET != 0 => Ok(Self(named | HEAD)),
            _ => Ok(Self(named)),
        }
    }

    /// The method of a request, case-sensitive (RFC 9110 §9.1).
    pub fn of_request(method: &str) -> Self {
        Self(bit(method))
    }

    /// A set in the compiled route table.
    #[allow(dead_code, reason = "a table may have no rule")]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// One bit for each method: the form in the compiled route table.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the two have a method in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Without those of `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("*");
        }
        let mut comma = "";
        for name in NAMES.into_iter().filter(|name| self.0 & bit(name) != 0) {
            write!(f, "{comma}{name}")?;
            comma = ", ";
        }
        Ok(())
    }
}

/// Why a list is not the methods of a rule. `index` counts the elements from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodsError {
    /// No method at all.
    Empty,
    /// Not a known method.
    Unknown {
        /// Which element.
        index: usize,
    },
    /// A method a second time.
    Repeated {
        /// Which element.
        index: usize,
    },
    /// `*` with something beside it.
    AllAndMore {
        /// Which element.
        index: usize,
    },
}

impl fmt::Display for MethodsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "name at least one method, or \"*\" for all",
            Self::Unknown { .. } => "expected GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or \"*\"",
            Self::Repeated { .. } => "name each method once",
            Self::AllAndMore { .. } => "\"*\" stands for all methods; write nothing beside it",
        })
    }
}

impl std::error::Error for MethodsError {}

fn bit(method: &str) -> u8 {
    match method {
        "GET" => GET,
        "HEAD" => HEAD,
        "POST" => 4,
        "PUT" => 8,
        "PATCH" => 16,
        "DELETE" => 32,
        "OPTIONS" => 64,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_covers_head_and_the_star_covers_all() {
        let covers = |names: &[&str], method| {
            Methods::parse(names.iter().copied()).unwrap().intersects(Methods::of_request(method))
        };
        assert!(covers(&["GET"], "GET"));
        assert!(covers(&["GET"], "HEAD"));
        assert!(!covers(&["HEAD"], "GET"));
        assert!(covers(&["POST", "PUT"], "PUT"));
        assert!(!covers(&["POST", "PUT"], "GET"));
        assert!(covers(&["*"], "GET"));
        assert!(covers(&["*"], "PROPFIND"));
        assert!(!covers(&NAMES, "PROPFIND"));
        assert!(!covers(&NAMES, "get"));
        assert!(NAMES.into_iter().all(|name| covers(&[name], name)));
    }

    #[test]
    fn refuses_what_a_rule_cannot_mean() {
        for (names, error) in [
            (&[][..], MethodsError::Empty),
            (&["get"], MethodsError::Unknown { index: 0 }),
            (&["GET", "PSOT"], MethodsError::Unknown { index: 1 }),
            (&["GET", "PUT", "GET"], MethodsError::Repeated { index: 2 }),
            (&["GET", "*"], MethodsError::AllAndMore { index: 1 }),
            (&["*", "GET"], MethodsError::AllAndMore { index: 1 }),
            (&["*", "*"], MethodsError::AllAndMore { index: 1 }),
        ] {
            assert_eq!(Methods::parse(names.iter().copied()), Err(error), "{names:?}");
        }
    }

    #[test]
    fn is_written_as_in_a_table() {
        let text = |names: &[&str]| Methods::parse(names.iter().copied()).unwrap().to_string();
        assert_eq!(text(&["*"]), "*");
        assert_eq!(text(&["PATCH", "GET"]), "GET, HEAD, PATCH");
    }
}
