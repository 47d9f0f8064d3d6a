//! IP addresses and subnets, version 4 and 6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use ipnet::IpNet;

use crate::arguments::wrong;
use crate::docs::{Example, Section};
use crate::plain::{Plain, Takes, list_of};
use crate::rows::{Rows, TEXT};

fn no_address(name: &str, text: &str) -> DataFusionError {
    wrong(format!("{name}: `{text}` is no IP address"))
}

fn address(name: &str, text: &str) -> Result<IpAddr> {
    text.trim().parse().map_err(|_| no_address(name, text))
}

/// `10.0.0.0/8`; an address alone is a net of one.
fn net(name: &str, text: &str) -> Result<IpNet> {
    let text = text.trim();
    let net = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| {
        wrong(format!(
            "{name}: `{text}` is no subnet; 10.0.0.0/8 is, or 2001:db8::/32"
        ))
    })
}

fn prefix(name: &str, text: &str, bits: i64) -> Result<Option<String>> {
    let address = address(name, text)?;
    let bits = u8::try_from(bits).ok();
    let net = bits.and_then(|bits| IpNet::new(address, bits).ok());
    let net = net.ok_or_else(|| wrong(format!("{name}: an address has not so many bits")))?;
    Ok(Some(net.trunc().to_string()))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn range(rows: &Rows) -> Result<ArrayRef> {
    rows.try_map(|text: &str| {
        let net = net(rows.name(), text)?.trunc();
        let last = match net {
            IpNet::V4(v4) => IpAddr::V4(v4.broadcast()),
            IpNet::V6(v6) => IpAddr::V6(v6.broadcast()),
        };
        Ok(Some(vec![net.network().to_string(), last.to_string()]))
    })
}

/// Of a subnet, as a text.
fn of_net(
    name: &str,
    shown: &str,
    of: fn(IpNet) -> String,
    about: &str,
    example: Example,
) -> Plain {
    Plain::new(name, &[Takes::Text], TEXT, move |rows: &Rows| {
        rows.try_map(|text: &str| Ok(Some(of(net(rows.name(), text)?))))
    })
    .of_entries()
    .says(
        Section::Ip,
        &format!("{shown}('subnet')"),
        about,
        &[example],
    )
}

fn is_of(name: &str, shown: &str, of: fn(&str) -> bool, about: &str, example: Example) -> Plain {
    Plain::new(name, &[Takes::Text], DataType::Boolean, move |rows| {
        rows.map(|text: &str| Some(of(text)))
    })
    .of_entries()
    .says(Section::Ip, &format!("{shown}(text)"), about, &[example])
}

fn nets() -> Vec<Plain> {
    vec![
        of_net(
            "ip_subnet_min",
            "IPSUBNETMIN",
            |net| net.network().to_string(),
            "The first address of a subnet.",
            ("IPSUBNETMIN('192.168.7.9/24')", "192.168.7.0"),
        ),
        of_net(
            "ip_subnet_max",
            "IPSUBNETMAX",
            |net| net.broadcast().to_string(),
            "The last address of a subnet.",
            ("IPSUBNETMAX('192.168.7.9/24')", "192.168.7.255"),
        ),
        of_net(
            "ip_netmask",
            "IPNETMASK",
            |net| net.netmask().to_string(),
            "The mask of a subnet.",
            ("IPNETMASK('10.0.0.0/8')", "255.0.0.0"),
        ),
        of_net(
            "ip_hostmask",
            "IPHOSTMASK",
            |net| net.hostmask().to_string(),
            "The bits that a subnet leaves to its hosts.",
            ("IPHOSTMASK('10.0.0.0/8')", "0.255.255.255"),
        ),
    ]
}

fn tests() -> Vec<Plain> {
    vec![
        is_of(
            "is_ipv4_string",
            "ISIPV4STRING",
            |text| text.parse::<Ipv4Addr>().is_ok(),
            "Whether the text is an address of version 4.",
            ("ISIPV4STRING('10.0.0.1')", "true"),
        ),
        is_of(
            "is_ipv6_string",
            "ISIPV6STRING",
            |text| text.parse::<Ipv6Addr>().is_ok(),
            "Whether the text is an address of version 6.",
            ("ISIPV6STRING('10.0.0.1')", "false"),
        ),
        is_of(
            "is_private_ip",
            "ISPRIVATEIP",
            |text| text.parse().is_ok_and(is_private),
            "Whether the address is not for the Internet.",
            ("ISPRIVATEIP('192.168.0.1')", "true"),
        ),
    ]
}

fn is_subnet_of() -> Plain {
    Plain::new(
        "is_subnet_of",
        &[Takes::Text; 2],
        DataType::Boolean,
        |rows| {
            rows.try_map2(|whole: &str, part: &str| {
                let (whole, part) = (net(rows.name(), whole)?, net(rows.name(), part)?);
                Ok(Some(whole.contains(&part)))
            })
        },
    )
    .says(
        Section::Ip,
        "ISSUBNETOF('subnet', 'address or subnet')",
        "Whether the one holds the other.",
        &[("ISSUBNETOF('10.0.0.0/8', '10.1.2.3')", "true")],
    )
}

fn ip_prefix() -> Plain {
    Plain::new("ip_prefix", &[Takes::Text, Takes::Long], TEXT, |rows| {
        rows.try_map2(|text: &str, bits: i64| prefix(rows.name(), text, bits))
    })
    .says(
        Section::Ip,
        "IPPREFIX('address', bits)",
        "The subnet of an address that has so many bits.",
        &[("IPPREFIX('192.168.7.9', 16)", "192.168.0.0/16")],
    )
}

fn ip_family() -> Plain {
    Plain::new("ip_family", &[Takes::Text], DataType::Int32, |rows| {
        rows.try_map(|text: &str| {
            let is_v4 = net(rows.name(), text)?.addr().is_ipv4();
            Ok(Some(if is_v4 { 4 } else { 6 }))
        })
    })
    .of_entries()
    .says(
        Section::Ip,
        "IPFAMILY('address')",
        "4 or 6.",
        &[("IPFAMILY('::1')", "6")],
    )
}

fn ip_mask_len() -> Plain {
    Plain::new("ip_mask_len", &[Takes::Text], DataType::Int32, |rows| {
        rows.try_map(|text: &str| Ok(Some(i32::from(net(rows.name(), text)?.prefix_len()))))
    })
    .of_entries()
    .says(
        Section::Ip,
        "IPMASKLEN('subnet')",
        "How many bits the subnet fixes.",
        &[("IPMASKLEN('10.0.0.0/8')", "8")],
    )
}

fn ipv4_to_long() -> Plain {
    Plain::new("ipv4_to_long", &[Takes::Text], DataType::Int64, |rows| {
        rows.try_map(|text: &str| {
            let address = text.trim().parse::<Ipv4Addr>();
            let address = address.map_err(|_| no_address(rows.name(), text))?;
            Ok(Some(i64::from(u32::from(address))))
        })
    })
    .of_entries()
    .says(
        Section::Ip,
        "IPV4TOLONG('address')",
        "The number of an address of version 4.",
        &[("IPV4TOLONG('0.0.1.2')", "258")],
    )
}

fn long_to_ipv4() -> Plain {
    Plain::new("long_to_ipv4", &[Takes::Long], TEXT, |rows| {
        rows.try_map(|number: i64| {
            let number = u32::try_from(number);
            let number = number.map_err(|_| wrong("LONGTOIPV4: it has 32 bits at most"))?;
            Ok(Some(Ipv4Addr::from(number).to_string()))
        })
    })
    .of_entries()
    .says(
        Section::Ip,
        "LONGTOIPV4(number)",
        "The address of version 4 with this number.",
        &[("LONGTOIPV4(258)", "0.0.1.2")],
    )
}

fn ipv6_to_bytes() -> Plain {
    Plain::new(
        "ipv6_to_bytes",
        &[Takes::Text],
        DataType::BinaryView,
        |rows| rows.try_map(|text: &str| Ok(Some(bytes_of(address(rows.name(), text)?)))),
    )
    .says(
        Section::Ip,
        "IPV6TOBYTES('address')",
        "The bytes of an address.",
        &[("IPV6TOBYTES('::1')", "00000000000000000000000000000001")],
    )
}

fn bytes_to_ipv6() -> Plain {
    Plain::new("bytes_to_ipv6", &[Takes::Bytes], TEXT, |rows| {
        rows.map(|bytes: &[u8]| {
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_string())
        })
    })
    .says(
        Section::Ip,
        "BYTESTOIPV6(bytes)",
        "The address of version 6 with these 16 bytes; null if they are none.",
        &[("BYTESTOIPV6(IPV6TOBYTES('::1'))", "::1")],
    )
}

fn ipv4_to_ipv6() -> Plain {
    Plain::new("ipv4_to_ipv6", &[Takes::Text], TEXT, |rows| {
        rows.try_map(|text: &str| Ok(Some(mapped(address(rows.name(), text)?).to_string())))
    })
    .of_entries()
    .says(
        Section::Ip,
        "IPV4TOIPV6('address')",
        "The address of version 4 as one of version 6.",
        &[("IPV4TOIPV6('10.0.0.1')", "::ffff:10.0.0.1")],
    )
}

fn ipv4_cidr_to_range() -> Plain {
    Plain::new("ipv4_cidr_to_range", &[Takes::Text], list_of(TEXT), range).says(
        Section::Ip,
        "IPV4CIDRTORANGE('subnet')",
        "The first and the last address of a subnet.",
        &[("IPV4CIDRTORANGE('10.1.2.3/30')", "[10.1.2.0, 10.1.2.3]")],
    )
}

fn numbers() -> Vec<Plain> {
    vec![
        ipv4_to_long(),
        long_to_ipv4(),
        ipv6_to_bytes(),
        bytes_to_ipv6(),
        ipv4_to_ipv6(),
        ipv4_cidr_to_range(),
    ]
}

pub(super) fn all() -> Vec<Plain> {
    let single = vec![is_subnet_of(), ip_prefix(), ip_family(), ip_mask_len()];
    [single, nets(), tests(), numbers()].concat()
}
