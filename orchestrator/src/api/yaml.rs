//! YAML as Kubernetes reads and writes it: version 1.1, in which `no` is false and `0400` octal.
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_yaml::Options;
use serde_yaml::options::DuplicateKeyPolicy;

/// What is wrong with a text.
pub use serde_yaml::Error;

/// As deep as objects and lists may lie in each other. Each level takes up to 16 KiB of a stack of
/// two MiB; the deepest of Kubernetes' own objects have some twenty.
const MAX_DEPTH: usize = 64;

/// Reads one document. Bounds on its size are the seed's; of fields that stand twice it sees both.
pub fn read<'de, S>(text: &'de [u8], seed: S) -> Result<S::Value, Error>
where
    S: DeserializeSeed<'de>,
{
    serde_yaml::with_deserializer_from_slice_with_options(
        text,
        options(DuplicateKeyPolicy::LastWins),
        |document| seed.deserialize(document),
    )
}

/// Reads one document, in which no field may stand twice.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_yaml::from_str_with_options(text, options(DuplicateKeyPolicy::Error))
}

/// Writes a document that readers of YAML 1.1 and of 1.2 understand alike.
pub fn to_string(value: &impl Serialize) -> Result<String, serde_yaml::ser::Error> {
    serde_yaml::to_string(value)
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    // Whoever calls bounds the text, and what aliases make of it.
    let budget = serde_yaml::budget! {
        max_depth: MAX_DEPTH,
        max_nodes: usize::MAX,
        max_events: usize::MAX,
        max_anchors: usize::MAX,
        max_aliases: usize::MAX,
        max_merge_keys: usize::MAX,
        enforce_alias_anchor_ratio: false,
    };
    let alias_limits = serde_yaml::alias_limits! { max_total_replayed_events: usize::MAX };
    serde_yaml::options! {
        budget: budget,
        alias_limits: alias_limits,
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn it_is_read_as_kubectl_reads_it() {
        let text = "mode: 0400\nplain: 644\noff: no\nfor: yes\nsaid: \"no\"\nnone: ~\nat: 2001-01-01\n\
                    time: 12:30:45\nx: 1e3\ny: 0x1F\nbase: &b {a: 1}\nmore: {<<: *b, c: 2}\n1: one\n";
        let read: Value = from_str(text).unwrap();
        let wanted = json!({"mode": 256, "plain": 644, "off": false, "for": true, "said": "no",
            "none": null, "at": "2001-01-01", "time": "12:30:45", "x": 1000.0, "y": 31,
            "base": {"a": 1}, "more": {"a": 1, "c": 2}, "1": "one"});
        assert_eq!(read, wanted);
    }

    #[test]
    fn what_is_written_means_the_same_to_every_reader() {
        let words =
            ["no", "on", "Off", "y", "12:30:45", "2001-01-01", "1_000", "0400", "~", "", " a"];
        for word in words {
            let written = to_string(&json!({"a": word})).unwrap();
            assert!(written.contains(['"', '\'']), "{written}");
            assert_eq!(from_str::<Value>(&written).unwrap()["a"], word);
        }
        let value = json!({"script": "a: b\n  c\n\nd\n", "list": [{"a": [1, {}], "b": null}, []],
            "long": "word ".repeat(50), "umlaut": "ä\u{7}\t", "end": "x\n\n"});
        assert_eq!(from_str::<Value>(&to_string(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn depth_and_fields_that_stand_twice_are_errors() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            let nested = |depth| format!("{}{}", open.repeat(depth), close.repeat(depth));
            let read = move |depth| from_str::<Value>(&nested(depth)).map(drop);
            // Less than the stack of any thread that reads.
            let small = std::thread::Builder::new().stack_size(3 << 19);
            let read = small.spawn(move || (read(MAX_DEPTH - 1), read(1_000))).unwrap().join();
            let (deepest, deeper) = read.unwrap();
            assert!(deepest.is_ok() && deeper.is_err(), "{open}: {deepest:?} {deeper:?}");
        }
        assert!(from_str::<Value>("a: 1\na: 2\n").unwrap_err().to_string().contains("duplicate"));
    }
}
