//! Geohashes: the earth is halved by longitude and latitude in turns, five halvings a character.
//!
//! The crate of this name (0.13) takes the north pole for the south pole.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::arguments::wrong;
use crate::docs::Section;
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{Rows, TEXT};

const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// More do not fit into the digits of a double.
const LENGTH_MAX: i64 = 12;

/// The part of the earth that is left, in degrees.
struct Area {
    latitude: (f64, f64),
    longitude: (f64, f64),
    by_longitude: bool,
}

const fn middle((low, high): (f64, f64)) -> f64 {
    (low + high) / 2.0
}

impl Area {
    const EARTH: Self = Self {
        latitude: (-90.0, 90.0),
        longitude: (-180.0, 180.0),
        by_longitude: true,
    };

    /// Of the side that is halved next.
    const fn side(&mut self) -> &mut (f64, f64) {
        match self.by_longitude {
            true => &mut self.longitude,
            false => &mut self.latitude,
        }
    }

    fn halve(&mut self, takes_upper: bool) {
        let side = self.side();
        match takes_upper {
            true => side.0 = middle(*side),
            false => side.1 = middle(*side),
        }
        self.by_longitude = !self.by_longitude;
    }
}

fn encoded(latitude: f64, longitude: f64, length: i64) -> String {
    let mut area = Area::EARTH;
    let mut letter = || {
        (0..5).fold(0, |code, _| {
            let value = if area.by_longitude {
                longitude
            } else {
                latitude
            };
            let takes_upper = value >= middle(*area.side());
            area.halve(takes_upper);
            code * 2 + usize::from(takes_upper)
        })
    };
    let letters = (0..length).map(|_| char::from(LETTERS[letter()]));
    letters.collect()
}

/// Latitude and longitude of the middle. `None`: it is no geohash.
fn decoded(hash: &str) -> Option<(f64, f64)> {
    let mut area = Area::EARTH;
    for letter in hash.bytes() {
        let letter = letter.to_ascii_lowercase();
        let code = LETTERS.iter().position(|known| *known == letter)?;
        for bit in (0..5).rev() {
            area.halve(code >> bit & 1 == 1);
        }
    }
    (!hash.is_empty()).then(|| (middle(area.latitude), middle(area.longitude)))
}

fn encode(rows: &Rows) -> Result<ArrayRef> {
    rows.try_map3(|latitude: f64, longitude: f64, length: i64| {
        if !(1..=LENGTH_MAX).contains(&length) {
            return Err(wrong(format!(
                "ENCODEGEOHASH: a geohash has 1 to {LENGTH_MAX} characters, not {length}"
            )));
        }
        let is_on_earth = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        Ok(is_on_earth.then(|| encoded(latitude, longitude, length)))
    })
}

pub(super) fn all() -> Vec<Plain> {
    use Takes::{Double, Long, Text};
    vec![
        Plain::new("encode_geo_hash", &[Double, Double, Long], TEXT, encode).says(
            Section::Conversion,
            "ENCODEGEOHASH(latitude, longitude, length)",
            "The geohash of a place, of so many characters; null if it is not on earth.",
            &[("ENCODEGEOHASH(57.64911, 10.40744, 11)", "u4pruydqqvj")],
        ),
        Plain::new(
            "decode_geo_hash",
            &[Text],
            list_of(DataType::Float64),
            |rows| {
                rows.map(|hash: &str| {
                    decoded(hash).map(|(latitude, longitude)| vec![latitude, longitude])
                })
            },
        )
        .says(
            Section::Conversion,
            "DECODEGEOHASH(geohash)",
            "Latitude and longitude of the middle of a geohash; null if it is none.",
            &[("DECODEGEOHASH('s0000')", "[0.02197265625, 0.02197265625]")],
        ),
        Plain::new(
            "decode_geo_hash_latitude",
            &[Text],
            DataType::Float64,
            |rows| rows.map(|hash: &str| Some(decoded(hash)?.0)),
        )
        .alias("decode_geo_hash_lat")
        .says(
            Section::Conversion,
            "DECODEGEOHASHLATITUDE(geohash)",
            "The latitude of the middle of a geohash. Also called DECODEGEOHASHLAT.",
            &[("ROUND(DECODEGEOHASHLATITUDE('9q9p1ds'), 3)", "37.807")],
        ),
        Plain::new(
            "decode_geo_hash_longitude",
            &[Text],
            DataType::Float64,
            |rows| rows.map(|hash: &str| Some(decoded(hash)?.1)),
        )
        .alias("decode_geo_hash_lon")
        .says(
            Section::Conversion,
            "DECODEGEOHASHLONGITUDE(geohash)",
            "The longitude of the middle of a geohash. Also called DECODEGEOHASHLON.",
            &[("ROUND(DECODEGEOHASHLONGITUDE('9q9p1ds'), 2)", "-122.27")],
        ),
    ]
}
