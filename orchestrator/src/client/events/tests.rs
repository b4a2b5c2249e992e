use jiff::SignedDuration;

use super::*;

fn draft(name: &str, message: &str, second: i64) -> Draft {
    Draft {
        about: ObjectReference {
            kind: Some("ReplicaSet".into()),
            namespace: Some("default".into()),
            name: Some(name.into()),
            ..ObjectReference::default()
        },
        type_: EventType::Normal,
        reason: "SuccessfulCreate".into(),
        message: message.into(),
        time: jiff::Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second),
    }
}

/// Judges drafts and remembers what they lead to; answers message and count of what is written.
fn story(drafts: impl IntoIterator<Item = Draft>) -> Vec<(String, i32)> {
    let mut correlator = Correlator::default();
    let mut written = Vec::new();
    for draft in drafts {
        let (key, verdict) = correlator.judge(draft);
        let (draft, known) = match verdict {
            Verdict::Drop => continue,
            Verdict::New(draft) => {
                let known = Known { name: "a.1".into(), count: 1, first: draft.time };
                (draft, known)
            }
            Verdict::Repeat(draft, known) => (draft, Known { count: known.count + 1, ..known }),
        };
        written.push((draft.message, known.count));
        correlator.remember(key, known);
    }
    written
}

#[test]
fn a_repeated_event_raises_the_count_of_the_first() {
    let told = story([draft("web", "pulled", 0), draft("web", "pulled", 9)]);
    assert_eq!(told, [("pulled".to_owned(), 1), ("pulled".to_owned(), 2)]);
}

#[test]
fn the_tenth_similar_event_is_combined_with_those_that_follow() {
    let told = story((0..12).map(|n| draft("web", &format!("Created pod: web-{n}"), n)));
    assert_eq!(told[8], ("Created pod: web-8".to_owned(), 1));
    let combined = |n: i32| format!("(combined from similar events): Created pod: web-{n}");
    assert_eq!(told[9..], [(combined(9), 1), (combined(10), 2), (combined(11), 3)]);
}

#[test]
fn an_object_that_talks_too_much_is_cut_short_until_it_has_been_quiet() {
    let noisy = (0..100).map(|_| draft("web", "again", 0));
    assert_eq!(story(noisy.clone()).len(), 25);
    let later = [draft("web", "again", 301), draft("web", "again", 302)];
    assert_eq!(story(noisy.chain(later)).len(), 26);
    let others = (0..100).map(|n| draft(&format!("web-{n}"), "again", 0));
    assert_eq!(story(others).len(), 100);
}

#[test]
fn an_event_about_a_cluster_scoped_object_lives_in_the_default_namespace() {
    let mut draft = draft("node-1", "ready", 1);
    draft.about.namespace = None;
    let event = event(&draft, &EventSource::default(), draft.time, 1);
    assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(event.metadata.name.as_deref(), Some("node-1.3b9aca00"));
}
