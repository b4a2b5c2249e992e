//! JSON and YAML, with the fields that stand twice in an object.
//!
//! Strict field validation refuses them; a plain parser takes the last one and
//! says nothing.
//!
//! What a document grows to is bounded: an alias of YAML takes two bytes and
//! stands for as much as its anchor has.
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{BODY_MAX, Document};
use crate::api::yaml;

/// What the parts of a document may weigh together. One without aliases weighs less: of JSON a
/// part is no heavier than its text, of YAML at most twice as heavy.
const WEIGHT_MAX: usize = 2 * BODY_MAX;

/// What the name of a field weighs beside its letters: as much as its punctuation in JSON.
const NAME_WEIGHT: usize = 3;

/// As many fields that stand twice as are named: each is written with its whole path.
const DUPLICATES_MAX: usize = 100;

/// Parses JSON.
pub fn from_json(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { place: &Place::Root, found: &mut found }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Document { value, duplicates: found.duplicates })
}

/// Parses YAML.
pub fn from_yaml(bytes: &[u8]) -> Result<Document, yaml::Error> {
    let mut found = Found::default();
    let node = Node { place: &Place::Root, found: &mut found };
    let value = yaml::read(bytes, node)?;
    Ok(Document { value, duplicates: found.duplicates })
}

/// Where a value stands; written out only where something is wrong.
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What is known of the parts read so far.
#[derive(Default)]
struct Found {
    duplicates: Vec<String>,
    weight: usize,
}

impl Found {
    fn weigh<E: Error>(&mut self, weight: usize) -> Result<(), E> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            return Err(E::custom(format_args!(
                "it is larger than {WEIGHT_MAX} bytes with its aliases written out"
            )));
        }
        Ok(())
    }
}

struct Node<'a> {
    place: &'a Place<'a>,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.found.weigh::<E>(1)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.found.weigh::<E>(1)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.found.weigh::<E>(1)?;
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.found.weigh::<E>(1)?;
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.found.weigh::<E>(1 + value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.found.weigh::<E>(1 + value.len())?;
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.found.weigh::<E>(1)?;
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.found.weigh::<A::Error>(1)?;
        let mut list = Vec::new();
        loop {
            let place = Place::Item(self.place, list.len());
            let node = Node { place: &place, found: &mut *self.found };
            match items.next_element_seed(node)? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.found.weigh::<A::Error>(1)?;
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.found.weigh::<A::Error>(NAME_WEIGHT + name.len())?;
            let place = Place::Field(self.place, &name);
            let node = Node { place: &place, found: &mut *self.found };
            let value = fields.next_value_seed(node)?;
            if map.contains_key(&name) && self.found.duplicates.len() < DUPLICATES_MAX {
                self.found.duplicates.push(place.to_string());
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_stand_twice_are_named_with_their_place() {
        let text = br#"{"a": 1, "spec": {"list": [{"x": 1}, {"x": 1, "x": 2}]}, "a": {"b": null}}"#;
        let document = from_json(text).unwrap();
        assert_eq!(document.duplicates, ["spec.list[1].x", "a"]);
        assert_eq!(document.value["spec"]["list"][1]["x"], 2);
    }

    #[test]
    fn values_are_those_of_a_plain_parser() {
        let text =
            br#"{"n": -1, "u": 18446744073709551615, "f": 1.5, "t": true, "e": [], "s": "\u00e4"}"#;
        let plain: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(from_json(text).unwrap().value, plain);
        assert!(from_json(b"{} x").is_err());
        assert!(from_json("[".repeat(1_000).as_bytes()).is_err());
    }

    #[test]
    fn aliases_do_not_make_a_document_larger_than_a_body() {
        let flat = |anchor: &str, aliases: usize| {
            from_yaml(format!("a: &a {anchor}\nb: [{}]", vec!["*a"; aliases].join(",")).as_bytes())
        };
        let list = format!("[{}]", vec!["0"; 1_000].join(","));
        assert_eq!(flat(&list, 2).unwrap().value["b"][1][999], 0);
        for anchor in [list, format!("{{\"{}\": 0}}", "x".repeat(1_000)), "x".repeat(1_000)] {
            let error = flat(&anchor, 10_000).unwrap_err().to_string();
            assert!(error.contains("with its aliases written out"), "{error}");
        }
    }

    #[test]
    fn a_body_that_is_full_is_read() {
        let pairs: String = (0..BODY_MAX / 13).map(|n| format!("\"{n:06}\":\"\",")).collect();
        assert!(from_json(format!("{{{}}}", pairs.trim_end_matches(',')).as_bytes()).is_ok());
    }

    #[test]
    fn only_so_many_fields_that_stand_twice_are_named() {
        let text = format!("{{{}}}", vec!["\"a\":0"; 1_000].join(","));
        assert_eq!(from_json(text.as_bytes()).unwrap().duplicates.len(), DUPLICATES_MAX);
    }
}
