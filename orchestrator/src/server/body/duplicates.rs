//! JSON and YAML, with the fields that stand twice in an object.
//!
//! Strict field validation refuses them; a plain parser takes the last one and
//! says nothing.
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Document;

/// Parses JSON.
pub fn from_json(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value =
        Node { place: &Place::Root, duplicates: &mut duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Document { value, duplicates })
}

/// Parses YAML.
pub fn from_yaml(bytes: &[u8]) -> Result<Document, serde_yaml::Error> {
    let mut duplicates = Vec::new();
    let node = Node { place: &Place::Root, duplicates: &mut duplicates };
    let value = node.deserialize(serde_yaml::Deserializer::from_slice(bytes))?;
    Ok(Document { value, duplicates })
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

struct Node<'a> {
    place: &'a Place<'a>,
    duplicates: &'a mut Vec<String>,
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

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let place = Place::Item(self.place, list.len());
            let node = Node { place: &place, duplicates: &mut *self.duplicates };
            match items.next_element_seed(node)? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let place = Place::Field(self.place, &name);
            let node = Node { place: &place, duplicates: &mut *self.duplicates };
            let value = fields.next_value_seed(node)?;
            if map.contains_key(&name) {
                self.duplicates.push(place.to_string());
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
}
