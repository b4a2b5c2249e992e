use super::*;

/// A field of bytes.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a short value");
    assert!(length < 0x80, "one byte of length");
    [&[number << 3 | 2, length], value].concat()
}

/// A field of a small number.
fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw)].concat()
}

#[test]
fn a_config_map_becomes_its_json() {
    let metadata = [bytes(1, b"web"), bytes(3, b""), varint(7, 0), bytes(8, b"")].concat();
    let entry = [bytes(1, b"key"), bytes(2, b"value")].concat();
    let empty = bytes(1, b"empty");
    let raw = [bytes(1, &metadata), bytes(2, &entry), bytes(2, &empty)].concat();

    let value = decode(&body("v1", "ConfigMap", &raw)).unwrap();

    let expected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"},
        "data": {"key": "value", "empty": ""},
    });
    assert_eq!(value, expected);
}

#[test]
fn an_explicit_zero_survives_where_it_means_something() {
    // Deployment: 2 spec {1 replicas, 5 minReadySeconds}; replicas is a pointer in Go.
    let raw = bytes(2, &[varint(1, 0), varint(5, 0)].concat());
    let value = decode(&body("apps/v1", "Deployment", &raw)).unwrap();
    assert_eq!(value["spec"], json!({"replicas": 0}));
}

#[test]
fn inlined_messages_and_special_types_become_kubernetes_json() {
    // Pod: 2 spec {2 containers {1 name, 8 resources {1 limits}, 11 readinessProbe {1 handler {2 httpGet}}}}
    let quantity = [bytes(1, b"cpu"), bytes(2, &bytes(1, b"250m"))].concat();
    let port = [varint(1, 1), bytes(3, b"http")].concat();
    let probe = bytes(1, &bytes(2, &bytes(2, &port)));
    let container = [bytes(1, b"c"), bytes(8, &bytes(1, &quantity)), bytes(11, &probe)].concat();
    let raw = bytes(2, &bytes(2, &container));

    let value = decode(&body("v1", "Pod", &raw)).unwrap();

    let expected = json!([{
        "name": "c", "resources": {"limits": {"cpu": "250m"}},
        "readinessProbe": {"httpGet": {"port": "http"}},
    }]);
    assert_eq!(value["spec"]["containers"], expected);
}

#[test]
fn what_is_no_protobuf_or_no_known_kind_is_refused() {
    assert_eq!(decode(b"{}"), Err(ProtobufError::Prefix));
    let unknown = decode(&body("example.com/v1", "Widget", b"")).unwrap_err();
    assert!(unknown.to_string().contains("send JSON"), "{unknown}");
    let whole = body("v1", "ConfigMap", &bytes(1, &bytes(1, b"web")));
    let cut = decode(&whole[..whole.len() - 1]);
    assert!(matches!(cut, Err(ProtobufError::Malformed(_))), "{cut:?}");
    let not_utf8 = decode(&body("v1", "ConfigMap", &bytes(1, &bytes(1, &[0xff]))));
    assert_eq!(not_utf8, Err(ProtobufError::NotUtf8));
    let wrong = decode(&body("v1", "ConfigMap", &varint(1, 1)));
    assert!(matches!(wrong, Err(ProtobufError::WireType { .. })), "{wrong:?}");
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    let mut seed = 0x9e37_79b9_u32;
    for length in 0..2_000 {
        let noise: Vec<u8> = (0..length % 61)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        if let Ok(value) = decode(&body("v1", "Pod", &noise)) {
            assert_eq!(value["kind"], "Pod");
        }
    }
}
