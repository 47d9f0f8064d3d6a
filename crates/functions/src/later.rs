//! Functions of Pinot that are not here yet, and the nearest ones that are.

use crate::canonical;

/// Names without underscores, in lower case; and what to use, if there is anything like it.
pub(crate) const LATER: &[(&[&str], Option<&str>)] = &[
    (
        &[
            "stpoint",
            "stgeomfromtext",
            "stgeogfromtext",
            "stgeomfromgeojson",
            "stgeogfromgeojson",
            "stgeomfromwkb",
            "stgeogfromwkb",
            "stastext",
            "stasgeojson",
            "stasbinary",
            "stpolygon",
            "starea",
            "stdistance",
            "stcontains",
            "stequals",
            "stwithin",
            "stgeometrytype",
            "stunion",
            "tosphericalgeography",
            "togeometry",
            "geotoh3",
            "griddistance",
            "griddisk",
        ],
        None,
    ),
    (&["groovy"], Some("CASEWHEN")),
    (&["inidset", "idset"], Some("IN (SELECT …)")),
    (&["clpdecode", "clpencodedvarsmatch"], Some("REGEXPEXTRACT")),
    (&["mapvalue"], Some("JSONEXTRACTSCALAR")),
    (&["filtermv"], Some("VALUEIN")),
    (
        &[
            "distinctcounttuplesketch",
            "distinctcountrawintegersumtuplesketch",
            "sumvaluesintegersumtuplesketch",
            "avgvalueintegersumtuplesketch",
            "tothetasketch",
            "getthetasketchestimate",
            "thetasketchunion",
            "thetasketchintersect",
            "thetasketchdiff",
            "thetasketchtostring",
            "tointegersumtuplesketch",
            "getinttuplesketchestimate",
            "tocpcsketch",
            "getcpcsketchestimate",
            "cpcsketchunion",
            "cpcsketchtostring",
            "toull",
            "fromull",
            "tohll",
        ],
        Some("DISTINCTCOUNTTHETASKETCH"),
    ),
    (
        &[
            "distinctcountrawull",
            "distinctcountrawcpcsketch",
            "distinctcountrawhllmv",
            "distinctcountrawhllplusmv",
        ],
        Some("DISTINCTCOUNTRAWHLL"),
    ),
    (
        &[
            "percentilerawest",
            "percentilerawtdigest",
            "percentilerawkll",
            "percentilerawestmv",
            "percentilerawtdigestmv",
            "percentilerawkllmv",
        ],
        Some("PERCENTILETDIGEST"),
    ),
    (
        &["frequentstringssketch", "frequentlongssketch"],
        Some("MODE"),
    ),
    (&["sumarraylong", "sumarraydouble"], Some("SUMMV")),
    (
        &["funnelstepdurationstats", "funneleventsfunctioneval"],
        Some("FUNNELMAXSTEP"),
    ),
    (
        &["timeseriesaggregate", "timeseriesbucket"],
        Some("DATETIMECONVERT"),
    ),
    (&["uuidv7", "uuidtimestamp"], Some("UUIDV4")),
    (
        &[
            "jsonkeyvaluearraytomap",
            "jsonstringtomap",
            "jsonstringtolistormap",
            "jsonextractobject",
            "tojsonmapstr",
        ],
        Some("JSONPATHARRAY"),
    ),
    (
        &[
            "vectorsimilarity",
            "vectorsimilarityradius",
            "semanticmatch",
        ],
        Some("COSINEDISTANCE"),
    ),
    (
        &[
            "cid",
            "reqid",
            "starttime",
            "endtime",
            "brokerid",
            "queryengine",
            "stageid",
            "workerid",
            "sleep",
        ],
        None,
    ),
];

/// What is said to who asks for one that is not here yet.
pub fn later(name: &str) -> Option<String> {
    let bare = canonical(name);
    let (_, nearest) = LATER
        .iter()
        .find(|(names, _)| names.contains(&bare.as_str()))?;
    let shown = name.to_uppercase();
    Some(match nearest {
        Some(nearest) => format!("{shown} of Pinot is not here yet; the nearest is {nearest}"),
        None => format!("{shown} of Pinot is not here yet, and nothing like it"),
    })
}
