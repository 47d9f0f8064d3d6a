//! What of this machine and of the network the users of a node may make it read.
//!
//! Invariant: nothing but what an operator has listed. A file is judged by the place where it
//! really is, whatever links and `..` lead to it; a host by its name, and by every address that it
//! has: the machine itself and what is only reached from its own link are refused in any case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// With all that is below them.
    pub folders: Vec<PathBuf>,
    /// `host`, or `host:port` where only that port may be asked.
    pub hosts: Vec<String>,
    /// Who may prove the names of these hosts, beside those whom the system trusts: a PEM file.
    pub ca_file: Option<PathBuf>,
    /// `s3://bucket` or `s3://bucket/prefix`, with all that is below.
    pub objects: Vec<String>,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    #[error(
        "`{path}` is not below a folder of the setting import.folders, which says what this node \
         may read"
    )]
    File { path: String },
    #[error("`{host}` is none of the setting import.hosts, which says whom this node may ask")]
    Host { host: String },
    #[error(
        "`{uri}` is not below an address of the setting import.objects, which says what this node \
         may read"
    )]
    Object { uri: String },
    #[error(
        "`{host}` is at {address}: this machine or its own link, which no import may ask, whatever \
         import.hosts says"
    )]
    Address { host: String, address: IpAddr },
}

impl Reach {
    /// Whether a path, or a pattern of paths, may be looked for: before anything is told of what is
    /// there.
    pub fn check_pattern(&self, pattern: &str) -> Result<(), Denied> {
        let path = Path::new(pattern);
        let plain = path.is_absolute()
            && path
                .components()
                .all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
        let is_below = |folder: &PathBuf| {
            let real = folder.canonicalize();
            path.starts_with(folder) || real.is_ok_and(|real| path.starts_with(real))
        };
        match plain && self.folders.iter().any(is_below) {
            true => Ok(()),
            false => Err(denied(path)),
        }
    }

    /// Where a file really is, if it may be read.
    pub fn check_file(&self, path: &Path) -> Result<PathBuf, Denied> {
        let real = path.canonicalize().map_err(|_| denied(path))?;
        let is_below = |folder: &PathBuf| {
            folder
                .canonicalize()
                .is_ok_and(|folder| real.starts_with(folder))
        };
        match self.folders.iter().any(is_below) {
            true => Ok(real),
            false => Err(denied(path)),
        }
    }

    /// An object, all below a prefix, or a pattern whose first wildcard is below what is listed.
    pub fn check_object(&self, uri: &str) -> Result<(), Denied> {
        let is_below = |listed: &String| {
            let listed = listed.trim_end_matches('/');
            let rest = uri.strip_prefix(listed);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.objects.iter().any(is_below) {
            true => Ok(()),
            false => Err(Denied::Object {
                uri: uri.to_owned(),
            }),
        }
    }

    pub fn check_host(&self, host: &str, port: u16) -> Result<(), Denied> {
        let with_port = format!("{host}:{port}");
        let is_listed = |listed: &String| {
            listed.eq_ignore_ascii_case(host) || listed.eq_ignore_ascii_case(&with_port)
        };
        match self.hosts.iter().any(is_listed) {
            true => Ok(()),
            false => Err(Denied::Host {
                host: host.to_owned(),
            }),
        }
    }

    /// Of each address that the name has.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Denied> {
        let is_near = match address.to_canonical() {
            IpAddr::V4(v4) => is_near_v4(v4),
            IpAddr::V6(v6) => is_near_v6(v6),
        };
        match is_near {
            false => Ok(()),
            true => Err(Denied::Address {
                host: host.to_owned(),
                address,
            }),
        }
    }
}

fn denied(path: &Path) -> Denied {
    Denied::File {
        path: path.display().to_string(),
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        // 0.0.0.0/8 is this machine too.
        || address.octets()[0] == 0
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || first & 0xFFC0 == 0xFE80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_really_below_a_folder_is_read() {
        let outer = tempfile::tempdir().unwrap();
        let outer = outer.path().canonicalize().unwrap();
        let folder = outer.join("in");
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        std::fs::write(folder.join("deep/a.csv"), "").unwrap();
        std::fs::write(outer.join("secret.csv"), "").unwrap();
        std::os::unix::fs::symlink(outer.join("secret.csv"), folder.join("link.csv")).unwrap();
        std::os::unix::fs::symlink(&outer, folder.join("out")).unwrap();
        let reach = Reach {
            folders: vec![folder.clone()],
            ..Reach::default()
        };
        let inside = folder.join("deep/a.csv");
        assert_eq!(reach.check_file(&inside).unwrap(), inside);
        for outside in ["link.csv", "out/secret.csv", "../secret.csv", "missing.csv"] {
            let told = reach.check_file(&folder.join(outside)).unwrap_err();
            assert!(told.to_string().contains("import.folders"), "{told}");
        }
        let pattern = |name: &str| reach.check_pattern(&format!("{}/{name}", folder.display()));
        pattern("deep/*.csv").unwrap();
        pattern("**/*.csv").unwrap();
        pattern("../*.csv").unwrap_err();
        reach.check_pattern("/etc/*").unwrap_err();
        reach.check_pattern("deep/a.csv").unwrap_err();
        let beside = format!("{}side/x.csv", folder.display());
        reach.check_pattern(&beside).unwrap_err();
        Reach::default().check_file(&inside).unwrap_err();
    }

    #[test]
    fn only_objects_below_a_listed_address_are_read() {
        let reach = Reach {
            objects: vec!["s3://in/day/".to_owned(), "gs://all".to_owned()],
            ..Reach::default()
        };
        for allowed in ["s3://in/day", "s3://in/day/*.csv", "gs://all/x", "gs://all"] {
            reach.check_object(allowed).unwrap();
        }
        for denied in [
            "s3://in",
            "s3://in/d*",
            "s3://in/days/x",
            "gs://allx/y",
            "az://all/x",
        ] {
            let told = reach.check_object(denied).unwrap_err().to_string();
            assert!(told.contains("import.objects"), "{told}");
        }
    }

    #[test]
    fn only_listed_hosts_are_asked_and_never_the_machine_itself() {
        let reach = Reach {
            hosts: vec!["files.example".to_owned(), "data.example:8080".to_owned()],
            ..Reach::default()
        };
        reach.check_host("FILES.example", 443).unwrap();
        reach.check_host("data.example", 8080).unwrap();
        reach.check_host("data.example", 80).unwrap_err();
        reach.check_host("evil.files.example", 443).unwrap_err();
        Reach::default()
            .check_host("files.example", 443)
            .unwrap_err();
        for near in [
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            let address: IpAddr = near.parse().unwrap();
            let told = reach.check_address("files.example", address).unwrap_err();
            assert!(told.to_string().contains("files.example"), "{told}");
        }
        for far in ["93.184.216.34", "10.1.2.3", "2606:2800:220:1::1"] {
            reach
                .check_address("files.example", far.parse().unwrap())
                .unwrap();
        }
    }
}
