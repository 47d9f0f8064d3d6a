//! The events of the benchmark: thirteen fields of a web shop, as JSON and as Avro.
//!
//! Event `n` is always the same, whatever came before it; texts repeat as those of a shop do: few
//! countries, many pages, most of them seldom.

use std::fmt::Write;

use serde_json::{Value, json};

const START_MS: u64 = 1_788_220_800_000;
const DEVICES: [&str; 5] = ["mobile", "desktop", "tablet", "tv", "console"];
const STATUS: [u16; 8] = [200, 200, 200, 200, 304, 301, 404, 500];
const TENANTS: u64 = 1_000;
const COUNTRIES: u64 = 60;
const CITIES: u64 = 2_000;
const BROWSERS: u64 = 12;
const PAGES: u64 = 60_000;
const REFERRERS: u64 = 5_000;
const CAMPAIGNS: u64 = 200;
const USERS: u64 = 200_000;

/// Columns with an inverted index.
pub(crate) const INVERTED: [&str; 3] = ["city", "url", "referrer"];
/// The primary key, where there is one.
pub(crate) const KEY: &str = "user_id";

#[derive(Clone, Debug)]
pub(crate) struct Event {
    ts: u64,
    tenant: u64,
    country: u64,
    city: u64,
    device: &'static str,
    browser: u64,
    page: u64,
    referrer: u64,
    campaign: u64,
    status: u16,
    pub(crate) user: u64,
    latency_ms: u32,
    cents: u64,
}

/// SplitMix64.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Below `of`; small ones are much more frequent.
fn skewed(draw: u64, of: u64) -> u64 {
    let share = (draw >> 40) as f64 / (1_u64 << 24) as f64;
    (share * share * share * of as f64) as u64
}

impl Event {
    pub(crate) fn new(n: u64) -> Self {
        let draws: [u64; 8] = std::array::from_fn(|at| mix(n * 8 + at as u64));
        let [tenant, place, device, page, referrer, user, latency, cents] = draws;
        Self {
            ts: START_MS + n,
            tenant: skewed(tenant, TENANTS),
            country: skewed(place, COUNTRIES),
            city: skewed(place, CITIES),
            device: DEVICES[skewed(device, DEVICES.len() as u64) as usize],
            browser: device % BROWSERS,
            page: skewed(page, PAGES),
            referrer: skewed(referrer, REFERRERS),
            campaign: referrer % CAMPAIGNS,
            status: STATUS[(page % STATUS.len() as u64) as usize],
            user: user % USERS,
            latency_ms: skewed(latency, 3_000) as u32,
            cents: cents % 1_000_000,
        }
    }

    /// In the order of the fields.
    fn texts(&self) -> [String; 8] {
        let Self { page, referrer, .. } = self;
        [
            format!("tenant_{:04}", self.tenant),
            format!("c{:02}", self.country),
            format!("city_{:04}", self.city),
            self.device.to_owned(),
            format!("Chrome {}", 120 - self.browser),
            format!(
                "https://www.shop.example/department-{}/product-{page:06}?sort=price&view=list",
                page % 40
            ),
            format!("https://search.example/?q=word{referrer:05}&lang=en"),
            format!("campaign-{}", self.campaign),
        ]
    }

    pub(crate) fn json(&self) -> Vec<u8> {
        let mut text = format!("{{\"ts\":{}", self.ts);
        for (name, value) in TEXTS.iter().zip(self.texts()) {
            let _infallible = write!(text, ",\"{name}\":\"{value}\"");
        }
        let Self {
            status,
            user,
            latency_ms,
            cents,
            ..
        } = self;
        let (whole, part) = (cents / 100, cents % 100);
        let _infallible = write!(
            text,
            ",\"status\":{status},\"user_id\":{user},\"latency_ms\":{latency_ms},\
             \"revenue\":{whole}.{part:02}}}"
        );
        text.into_bytes()
    }

    pub(crate) fn avro(&self) -> Vec<u8> {
        let mut record = Vec::new();
        long(self.ts, &mut record);
        for text in self.texts() {
            long(text.len() as u64, &mut record);
            record.extend_from_slice(text.as_bytes());
        }
        long(u64::from(self.status), &mut record);
        long(self.user, &mut record);
        long(u64::from(self.latency_ms), &mut record);
        let revenue = self.cents as f64 / 100.0;
        record.extend_from_slice(&revenue.to_le_bytes());
        record
    }
}

/// A number as Avro writes it.
fn long(value: u64, to: &mut Vec<u8>) {
    let mut rest = value << 1;
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

const TEXTS: [&str; 8] = [
    "tenant", "country", "city", "device", "browser", "url", "referrer", "campaign",
];

pub(crate) fn avro_schema() -> String {
    let field = |name: &str, of: &str| json!({ "name": name, "type": of });
    let time = json!({ "name": "ts",
                       "type": { "type": "long", "logicalType": "timestamp-millis" } });
    let mut fields = vec![time];
    fields.extend(TEXTS.map(|name| field(name, "string")));
    fields.extend([
        field("status", "int"),
        field("user_id", "long"),
        field("latency_ms", "int"),
        field("revenue", "double"),
    ]);
    json!({ "type": "record", "name": "Event", "fields": fields }).to_string()
}

pub(crate) fn schema(name: &str) -> Value {
    let column = |name: &str, of: &str| json!({ "name": name, "dataType": of });
    let mut dimensions: Vec<Value> = TEXTS.iter().map(|name| column(name, "STRING")).collect();
    dimensions.extend([column("status", "INT"), column("user_id", "LONG")]);
    json!({
        "schemaName": name,
        "dimensionFieldSpecs": dimensions,
        "metricFieldSpecs": [column("latency_ms", "INT"), column("revenue", "DOUBLE")],
        "dateTimeFieldSpecs": [{
            "name": "ts", "dataType": "TIMESTAMP", "format": "1:MILLISECONDS:TIMESTAMP",
            "granularity": "1:MILLISECONDS"
        }],
        "primaryKeyColumns": [KEY]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_thirteen_fields_and_the_size_of_the_goal() {
        let mut bytes = 0;
        for n in 0..1_000 {
            let json = Event::new(n).json();
            let value: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 13);
            bytes += json.len();
        }
        assert!((340_000..380_000).contains(&bytes), "{bytes}");
    }
}
