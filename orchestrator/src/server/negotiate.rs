//! In which form a client wants the answer.
use crate::api::ApiError;

/// Media types the server answers in.
const PRODUCED: &str = "application/json, application/yaml, application/json;stream=watch";

/// How an object becomes bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
}

/// What of an object is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// The object.
    #[default]
    Whole,
    /// A table with a row for each.
    Table,
    /// Its metadata.
    PartialMetadata,
}

/// The first form in an `Accept` header that the server can answer in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Bytes.
    pub encoding: Encoding,
    /// Content.
    pub shape: Shape,
}

/// Chooses among the forms in `accept`; without the header the answer is JSON.
pub fn negotiate(accept: Option<&str>) -> Result<Accepted, ApiError> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(Accepted::default());
    };
    let mut forms = accept.split(',').filter_map(form);
    forms.next().ok_or_else(|| ApiError::NotAcceptable(PRODUCED.into()))
}

fn form(clause: &str) -> Option<Accepted> {
    let mut parts = clause.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "application/*" | "*/*" => Encoding::Json,
        "application/yaml" | "application/x-yaml" => Encoding::Yaml,
        _ => return None,
    };
    let (mut kind, mut group, mut version) = ("", "", "");
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim() {
            "as" => kind = value.trim(),
            "g" => group = value.trim(),
            "v" => version = value.trim(),
            "q" if value.trim().parse() == Ok(0.0) => return None,
            _ => {}
        }
    }
    let shape = match (kind, group, version) {
        ("", ..) => Shape::Whole,
        ("Table", "meta.k8s.io", "v1") => Shape::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
            Shape::PartialMetadata
        }
        _ => return None,
    };
    Some(Accepted { encoding, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(accept: &str) -> Shape {
        negotiate(Some(accept)).unwrap().shape
    }

    #[test]
    fn the_first_form_that_is_known_is_chosen() {
        assert_eq!(shape("application/vnd.kubernetes.protobuf,application/json"), Shape::Whole);
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(shape(&format!("{table},application/json")), Shape::Table);
        assert_eq!(
            shape("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json"),
            Shape::Whole
        );
        assert_eq!(
            shape("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Shape::PartialMetadata
        );
        assert_eq!(shape("text/html, */*;q=0.8"), Shape::Whole);
        assert_eq!(negotiate(Some("application/yaml")).unwrap().encoding, Encoding::Yaml);
        assert_eq!(negotiate(None).unwrap(), Accepted::default());
    }

    #[test]
    fn an_unknown_form_is_not_acceptable() {
        for accept in ["application/cbor", "text/plain", "application/json;q=0"] {
            assert!(matches!(negotiate(Some(accept)), Err(ApiError::NotAcceptable(_))), "{accept}");
        }
    }
}
