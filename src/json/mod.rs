//! JSON, read strictly and written plainly.
//!
//! The reader takes what RFC 8259 describes, and no object that has a member twice: two readers could take different ones.
//! One reader and one writer for everything are a fraction of the code that is derived for each type, and there are no
//! floating-point numbers in them. Tests compare both with `serde_json`.

use std::borrow::Cow;

mod number;
mod reader;
mod writer;

pub use reader::{DEPTH_MAX, Error, MEMBERS_MAX};
pub use writer::{ObjectWriter, array, quoted};

/// A JSON value. What stands in the text as it is, is borrowed from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it is written, of whatever size: [`Json::whole`] and [`Json::whole_value`] read it, without rounding.
    Number(&'a str),
    /// A text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// What can be read from JSON that Keygate wrote itself.
pub trait FromJson: Sized {
    /// None for anything else than what [`ToJson`] writes, unknown members included.
    fn from_json(json: Json<'_>) -> Option<Self>;
}

/// What can be written as JSON.
pub trait ToJson {
    /// The compact text.
    fn to_json(&self) -> String;
}

/// Reads what [`ToJson`] wrote.
#[must_use]
pub fn read<T: FromJson>(text: &str) -> Option<T> {
    T::from_json(Json::parse(text).ok()?)
}

/// All of them, or none if one is missing. The loop is a fraction of what `collect` would bring for each type.
pub fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    for item in items {
        all.push(item?);
    }
    Some(all)
}

impl<'a> Json<'a> {
    /// Reads a text that is one JSON value.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        reader::parse(text)
    }

    /// The text.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// True or false.
    #[must_use]
    pub fn flag(&self) -> Option<bool> {
        if let Json::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The whole number from 0 to `u64::MAX`, written as one: how Keygate itself writes them.
    #[must_use]
    pub fn whole(&self) -> Option<u64> {
        if let Json::Number(written) = self { written.parse().ok() } else { None }
    }

    /// The same however it is written: for JSON, 5 and 5.0 and 50e-1 are one number.
    #[must_use]
    pub fn whole_value(&self) -> Option<u64> {
        if let Json::Number(written) = self { number::whole(written) } else { None }
    }

    /// The members.
    #[must_use]
    pub fn object(self) -> Option<Object<'a>> {
        if let Json::Object(members) = self { Some(members) } else { None }
    }

    /// The texts of a list that has nothing else in it.
    #[must_use]
    pub fn texts(self) -> Option<Vec<Cow<'a, str>>> {
        let Json::List(items) = self else { return None };
        all(items.into_iter().map(Json::text))
    }
}

/// The members of an object, in no order, each to be taken by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    /// Takes a member.
    pub fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a member that is a text which `parse` understands.
    pub fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        parse(&self.take(name)?.text()?)
    }

    /// The name of a member that nobody has taken: the first in alphabetical order.
    #[must_use]
    pub fn left(&self) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).min()
    }

    /// All members that nobody has taken.
    pub fn into_members(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> {
        self.0.into_iter()
    }

    /// `value`, if every member has been taken.
    #[must_use]
    pub fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

impl FromJson for String {
    fn from_json(json: Json<'_>) -> Option<Self> {
        json.text().map(Cow::into_owned)
    }
}

impl FromJson for bool {
    fn from_json(json: Json<'_>) -> Option<Self> {
        json.flag()
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: Json<'_>) -> Option<Self> {
        let Json::List(items) = json else { return None };
        all(items.into_iter().map(T::from_json))
    }
}
