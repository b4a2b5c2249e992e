use jiff::civil::DateTime;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn next_times(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(schedule).unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let first = after.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let times = std::iter::successors(Some(first), |at| schedule.next(*at, &zone));
    let text = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%F %H:%M:%S %:z").to_string();
    times.skip(1).take(count).map(text).collect()
}

fn utc(schedule: &str, after: &str, count: usize) -> Vec<String> {
    let times = next_times(schedule, "UTC", after, count);
    times.into_iter().map(|text| text.trim_end_matches(" +00:00").to_owned()).collect()
}

#[test]
fn fields_are_lists_ranges_steps_and_names() {
    let from = "2026-01-01T00:00:00";
    assert_eq!(
        utc("*/20 * * * *", from, 3),
        ["2026-01-01 00:20:00", "2026-01-01 00:40:00", "2026-01-01 01:00:00"]
    );
    assert_eq!(
        utc("5/25 3 * * *", from, 3),
        ["2026-01-01 03:05:00", "2026-01-01 03:30:00", "2026-01-01 03:55:00"]
    );
    assert_eq!(
        utc("0 9-17/4 * * MON-fri", from, 4),
        [
            "2026-01-01 09:00:00",
            "2026-01-01 13:00:00",
            "2026-01-01 17:00:00",
            "2026-01-02 09:00:00"
        ]
    );
    assert_eq!(utc("0 0 29 feb ?", from, 1), ["2028-02-29 00:00:00"]);
    assert_eq!(
        utc("15,45 8,20 31 3,Dec *", from, 2),
        ["2026-03-31 08:15:00", "2026-03-31 08:45:00"]
    );
    // Both day fields are restricted: either will do. With a star in one it is the other alone.
    assert_eq!(
        utc("0 0 13 * 5", from, 4),
        [
            "2026-01-02 00:00:00",
            "2026-01-09 00:00:00",
            "2026-01-13 00:00:00",
            "2026-01-16 00:00:00"
        ]
    );
    assert_eq!(utc("0 0 * * 0", from, 2), ["2026-01-04 00:00:00", "2026-01-11 00:00:00"]);
    assert_eq!(utc("0 0 30 2 *", from, 1), [""; 0]);
}

#[test]
fn words_stand_for_schedules() {
    let from = "2026-01-01T10:30:30";
    for (word, first) in [
        ("@hourly", "2026-01-01 11:00:00"),
        ("@daily", "2026-01-02 00:00:00"),
        ("@midnight", "2026-01-02 00:00:00"),
        ("@weekly", "2026-01-04 00:00:00"),
        ("@monthly", "2026-02-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
        ("@every 1h30m", "2026-01-01 12:00:30"),
        ("@every 1.5s", "2026-01-01 10:30:31"),
        ("@every 10ms", "2026-01-01 10:30:31"),
    ] {
        assert_eq!(utc(word, from, 1), [first], "{word}");
    }
}

#[test]
fn what_is_no_schedule_is_refused_in_the_words_of_kubernetes() {
    for (text, why) in [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("0 0 * * * *", "expected exactly 5 fields, found 6: [0 0 * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("*/-5 * * * *", "negative number (-5) not allowed: -5"),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every", "unrecognized descriptor: @every"),
        ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
        (
            "@every 5y",
            "failed to parse duration @every 5y: time: unknown unit \"y\" in duration \"5y\"",
        ),
    ] {
        assert_eq!(Schedule::parse(text).unwrap_err(), why, "{text}");
    }
}

#[test]
fn zones_are_built_in_where_the_system_has_none() {
    let july: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
    for (name, hours) in
        [("Europe/Berlin", 2), ("America/Argentina/Buenos_Aires", -3), ("Etc/GMT+5", -5)]
    {
        let offset = |zone: TimeZone| zone.to_offset(july).seconds() / 3600;
        assert_eq!(offset(bundled(name).unwrap()), hours, "{name}");
        assert_eq!(offset(time_zone(name).unwrap()), hours, "{name}");
    }
    assert!(bundled("Mars/Olympus").is_none());
    assert_eq!(time_zone("Mars/Olympus").unwrap_err(), "unknown time zone Mars/Olympus");
}

#[test]
fn clocks_that_change_skip_and_repeat_hours() {
    // Clocks go from 2:00 to 3:00 on 29 March 2026 and from 3:00 to 2:00 on 25 October.
    let berlin = |schedule, from| next_times(schedule, "Europe/Berlin", from, 2);
    assert_eq!(
        berlin("30 2 * * *", "2026-03-28T12:00:00"),
        ["2026-03-30 02:30:00 +02:00", "2026-03-31 02:30:00 +02:00"]
    );
    assert_eq!(
        berlin("30 2 * * *", "2026-10-24T12:00:00"),
        ["2026-10-25 02:30:00 +02:00", "2026-10-25 02:30:00 +01:00"]
    );
    assert_eq!(
        berlin("0 * * * *", "2026-03-29T01:30:00"),
        ["2026-03-29 03:00:00 +02:00", "2026-03-29 04:00:00 +02:00"]
    );
    // A day that begins at 1:00.
    let beirut = next_times("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00", 1);
    assert_eq!(beirut, ["2026-03-30 00:00:00 +03:00"]);
    // Clocks that change by half an hour.
    let howe = next_times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00", 2);
    assert_eq!(howe, ["2026-04-05 01:45:00 +11:00", "2026-04-05 01:45:00 +10:30"]);
}

#[test]
fn the_next_time_is_the_first_that_matches() {
    let mut random = StdRng::seed_from_u64(11);
    let zones = ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
    for _ in 0..200 {
        let mut part = |max: u32, min: u32| match random.random_range(0..4) {
            0 => "*".to_owned(),
            1 => random.random_range(min..=max).to_string(),
            2 => format!("*/{}", random.random_range(1..=max / 2)),
            _ => {
                let low = random.random_range(min..max);
                format!("{low}-{}", random.random_range(low..=max))
            }
        };
        let text = format!("{} {} {} * {}", part(59, 0), part(23, 0), part(28, 1), part(6, 0));
        let Schedule::Clock(times) = Schedule::parse(&text).unwrap() else { panic!("{text}") };
        let zone = TimeZone::get(zones[random.random_range(0..zones.len())]).unwrap();
        let start =
            Timestamp::from_second(random.random_range(1_760_000_000..1_790_000_000)).unwrap();
        // Slowly: minute by minute of real time.
        let mut slow = Timestamp::from_second((start.as_second() / 60 + 1) * 60).unwrap();
        let slowest = slow.checked_add(SignedDuration::from_hours(24 * 40)).unwrap();
        let matches = |at: Timestamp| {
            let at = at.to_zoned(zone.clone());
            times.minute.has(at.minute()) && times.hour.has(at.hour()) && times.has_day(at.date())
        };
        while !matches(slow) && slow < slowest {
            slow = slow.checked_add(SignedDuration::from_mins(1)).unwrap();
        }
        if slow < slowest {
            assert_eq!(times.next(start, &zone), Some(slow), "{text} after {start} in {zone:?}");
        }
    }
}
