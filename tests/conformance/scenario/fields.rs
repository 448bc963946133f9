//! Access to the fields of JSON objects, with errors that name them.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::payload::Payload;

/// A value, or what is wrong with the file.
pub(super) type Parsed<T> = Result<T, String>;

/// The fields of a JSON object; of an absent one there are none.
pub(super) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Parsed<Self> {
        match value {
            Value::Object(map) => Ok(Self { map: Some(map) }),
            _ => Err(format!("not an object: {value}")),
        }
    }

    /// All fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.into_iter().flatten()
    }

    /// A field; null counts as absent.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    /// Converts a field that may be absent.
    fn maybe<T>(&self, name: &str, expected: &str, convert: impl FnOnce(&'a Value) -> Option<T>) -> Parsed<Option<T>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match convert(value) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("field {name:?} is not {expected}: {value}")),
        }
    }

    pub(super) fn maybe_text(&self, name: &str) -> Parsed<Option<&'a str>> {
        self.maybe(name, "a string", Value::as_str)
    }

    pub(super) fn maybe_flag(&self, name: &str) -> Parsed<Option<bool>> {
        self.maybe(name, "a boolean", Value::as_bool)
    }

    pub(super) fn maybe_int(&self, name: &str) -> Parsed<Option<i64>> {
        self.maybe(name, "an integer", Value::as_i64)
    }

    pub(super) fn maybe_count(&self, name: &str) -> Parsed<Option<u64>> {
        self.maybe(name, "a count", Value::as_u64)
    }

    pub(super) fn maybe_size(&self, name: &str) -> Parsed<Option<usize>> {
        self.maybe(name, "a size", size)
    }

    pub(super) fn maybe_millis(&self, name: &str) -> Parsed<Option<Duration>> {
        self.maybe(name, "a time in milliseconds", |value| Duration::try_from_secs_f64(value.as_f64()? / 1000.0).ok())
    }

    /// A negative time is as invalid as none at all, which is what the library can be told.
    pub(super) fn maybe_seconds(&self, name: &str) -> Parsed<Option<Duration>> {
        self.maybe(name, "a time in seconds", |value| Duration::try_from_secs_f64(value.as_f64()?.max(0.0)).ok())
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Parsed<bool> {
        Ok(self.maybe_flag(name)?.unwrap_or(default))
    }

    pub(super) fn text(&self, name: &str) -> Parsed<&'a str> {
        present(name, self.maybe_text(name)?)
    }

    pub(super) fn size(&self, name: &str) -> Parsed<usize> {
        present(name, self.maybe_size(name)?)
    }

    pub(super) fn millis(&self, name: &str) -> Parsed<Duration> {
        present(name, self.maybe_millis(name)?)
    }

    pub(super) fn object(&self, name: &str) -> Parsed<Self> {
        self.get(name).map_or(Ok(Self { map: None }), Self::of)
    }

    /// Parses each element of an array that may be absent.
    pub(super) fn each<T>(&self, name: &str, parse: impl FnMut(&'a Value) -> Parsed<T>) -> Parsed<Vec<T>> {
        let array = self.maybe(name, "an array", Value::as_array)?;
        array.into_iter().flatten().map(parse).collect()
    }

    /// Parses each element of an array that must be there.
    pub(super) fn required<T>(&self, name: &str, parse: impl FnMut(&'a Value) -> Parsed<T>) -> Parsed<Vec<T>> {
        present(name, self.get(name))?;
        self.each(name, parse)
    }

    /// The bytes to write or send; none if neither form is there.
    pub(super) fn payload(&self) -> Parsed<Payload> {
        if let Some(text) = self.maybe_text("data")? {
            return Ok(Payload::Text(text.to_owned()));
        }
        let pattern = self.maybe("pattern", "a length and a seed", |value| match value.as_array()?.as_slice() {
            [len, seed] => Some(Payload::Pattern(size(len)?, size(seed)?)),
            _ => None,
        })?;
        Ok(pattern.unwrap_or_else(|| Payload::Text(String::new())))
    }
}

fn size(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn present<T>(name: &str, field: Option<T>) -> Parsed<T> {
    field.ok_or_else(|| format!("field {name:?} is missing"))
}
