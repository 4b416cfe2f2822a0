//! The section `[azure]`: which cloud, who this node is in it, and how it is spoken to.

use std::path::{Path, PathBuf};

use vipfence_coordinator::azure::Identity;

use super::super::{
    AzureConfig,
    problem::Problem,
    reader::{Placed, Reader, Section, unknown_word},
};

const KEYS: &[&str] = &[
    "cloud",
    "arm",
    "imds",
    "authority",
    "audience",
    "api_version",
    "ca_file",
    "trust_if_match",
    "epoch_tag",
    "identity",
    "client_id",
    "tenant_id",
    "secret_file",
    "token_file",
];

const IMDS: &str = "http://169.254.169.254";
const API_VERSION: &str = "2024-05-01";

/// A cloud by its endpoints. [Azure/azure-cli `core/cloud.py`; azure_core `cloud.rs`]
struct Cloud {
    name: &'static str,
    arm: &'static str,
    authority: &'static str,
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        name: "public",
        arm: "https://management.azure.com",
        authority: "https://login.microsoftonline.com",
    },
    Cloud {
        name: "us-government",
        arm: "https://management.usgovcloudapi.net",
        authority: "https://login.microsoftonline.us",
    },
    Cloud {
        name: "china",
        arm: "https://management.chinacloudapi.cn",
        authority: "https://login.chinacloudapi.cn",
    },
];

/// What was read. The endpoints come apart, since whether `http` is allowed is a matter of `check`.
pub(super) struct Read {
    pub(super) arm: Option<Placed<String>>,
    pub(super) imds: Option<Placed<String>>,
    pub(super) authority: Option<Placed<String>>,
    /// Everything else.
    pub(super) rest: Option<AzureConfig>,
}

pub(super) fn read(reader: &mut Reader, top: &Section<'_>, folder: &Path) -> Read {
    let Some(section) = top.table(reader, "azure", "[azure]", KEYS) else {
        let [public, ..] = CLOUDS;
        let placed = |url: &str| Some(Placed::new(url.to_owned(), 0..0));
        return Read {
            arm: placed(public.arm),
            imds: placed(IMDS),
            authority: placed(public.authority),
            rest: Some(AzureConfig {
                arm: String::new(),
                imds: String::new(),
                authority: String::new(),
                audience: format!("{}/", public.arm),
                api_version: API_VERSION.to_owned(),
                ca_file: None,
                trust_if_match: true,
                epoch_tag: true,
                identity: Identity::Managed { client_id: None },
            }),
        };
    };
    let cloud = section.text_or(reader, "cloud", "public");
    let cloud = reader.convert(&cloud, cloud_of);
    // A wrong name has been reported: the other keys are read as if it were the public cloud.
    let cloud = cloud.map_or(&CLOUDS[0], |cloud| cloud.value);
    let url = |reader: &mut Reader, key, default| {
        let given = section.text_or(reader, key, default);
        reader.convert(&given, super::url)
    };
    let (arm, imds) = (url(reader, "arm", cloud.arm), url(reader, "imds", IMDS));
    let authority = url(reader, "authority", cloud.authority);
    Read { arm, imds, authority, rest: rest(reader, &section, cloud, folder) }
}

fn rest(
    reader: &mut Reader,
    section: &Section<'_>,
    cloud: &Cloud,
    folder: &Path,
) -> Option<AzureConfig> {
    let audience = section.text_or(reader, "audience", &format!("{}/", cloud.arm));
    let audience = reader.convert(&audience, super::not_empty);
    let api_version = section.text_or(reader, "api_version", API_VERSION);
    let api_version = reader.convert(&api_version, api_version_of);
    let ca_file = file(reader, section, "ca_file", folder, "the path of a PEM file");
    let trust_if_match = section.flag_or(reader, "trust_if_match", true);
    let epoch_tag = section.flag_or(reader, "epoch_tag", true);
    let identity = identity(reader, section, folder);
    Some(AzureConfig {
        arm: String::new(),
        imds: String::new(),
        authority: String::new(),
        audience: audience?.value,
        api_version: api_version?.value,
        ca_file: ca_file?.map(|path| path.value),
        trust_if_match,
        epoch_tag,
        identity: identity?,
    })
}

/// The keys of each kind of identity.
const KINDS: [(&str, &[&str]); 4] = [
    ("managed", &["client_id"]),
    ("workload", &["tenant_id", "client_id", "token_file"]),
    ("secret", &["tenant_id", "client_id", "secret_file"]),
    ("az", &["tenant_id"]),
];
const IDENTITY_KEYS: [&str; 4] = ["client_id", "tenant_id", "secret_file", "token_file"];

fn identity(reader: &mut Reader, section: &Section<'_>, folder: &Path) -> Option<Identity> {
    let kind = section.text_or(reader, "identity", "managed");
    let kind = reader.convert(&kind, |text| {
        let names = KINDS.map(|(name, _)| name);
        let known = names.into_iter().find(|name| *name == text);
        known.ok_or_else(|| unknown_word("identity", text, &names))
    })?;
    let keys = KINDS.iter().find(|(name, _)| *name == kind.value).map_or(&[][..], |(_, keys)| keys);
    for key in IDENTITY_KEYS.into_iter().filter(|key| !keys.contains(key)) {
        if let Some(given) = section.optional_text(reader, key) {
            let problem = Problem::error(
                format!("`{key}` does not belong to identity = \"{}\"", kind.value),
                "not used",
            );
            let help = format!("this kind has the keys: {}", keys.join(", "));
            reader.report(problem.at(given.span).help(help));
        }
    }
    let id = |reader: &mut Reader, key, what: &'static str| {
        let given = section.optional_text(reader, key);
        given.map(|given| reader.convert(&given, |text| guid(text, what)).map(|id| id.value))
    };
    let client_id = id(reader, "client_id", "a client id");
    let tenant_id = id(reader, "tenant_id", "a tenant id");
    let secret_file = file(reader, section, "secret_file", folder, "a file with the secret");
    let token_file = file(reader, section, "token_file", folder, "the file of the token");
    // What is given and wrong has been reported.
    let client_id = client_id.map_or(Some(None), |id| id.map(Some))?;
    let tenant_id = tenant_id.map_or(Some(None), |id| id.map(Some))?;
    let (secret_file, token_file) = (secret_file?, token_file?);
    match kind.value {
        "managed" => Some(Identity::Managed { client_id }),
        "workload" => {
            let token_file = token_file.map(|path| path.value);
            Some(Identity::Workload { tenant_id, client_id, token_file })
        }
        "secret" => {
            let given = [tenant_id.is_some(), client_id.is_some(), secret_file.is_some()];
            let missing = keys.iter().zip(given).filter(|(_, given)| !given).map(|(key, _)| *key);
            let missing: Vec<&str> = missing.collect();
            if !missing.is_empty() {
                let what = format!("identity = \"secret\" needs {}", missing.join(", "));
                let problem = Problem::error(what, "this identity").at(kind.span.clone());
                reader.report(problem.help("add what is missing to the section [azure]"));
            }
            let secret_file = secret_file?;
            only_for_its_owner(reader, &secret_file);
            let secret_file = secret_file.value;
            Some(Identity::Secret { tenant_id: tenant_id?, client_id: client_id?, secret_file })
        }
        _ => Some(Identity::AzCli { tenant_id }),
    }
}

/// A secret that everybody on the machine may read is none.
fn only_for_its_owner(reader: &mut Reader, file: &Placed<PathBuf>) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&file.value).map(|seen| seen.permissions().mode()).unwrap_or(0);
    if mode & 0o077 != 0 {
        let problem = Problem::warning(
            format!("{} can be read by others (mode {:o})", file.value.display(), mode & 0o777),
            "the secret",
        );
        reader.report(problem.at(file.span.clone()).help("chmod 600 it"));
    }
}

/// `Some(None)` = not given; `None` = given and not there.
fn file(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    folder: &Path,
    what: &str,
) -> Option<Option<Placed<PathBuf>>> {
    let Some(given) = section.optional_text(reader, key) else { return Some(None) };
    let there = reader.convert(&given, |text| {
        let path = folder.join(text);
        let missing = || {
            Problem::error(format!("there is no file {}", path.display()), "not a file")
                .help(format!("give {what}, or leave `{key}` out"))
        };
        if path.is_file() { Ok(path.clone()) } else { Err(missing()) }
    });
    there.map(Some)
}

fn cloud_of(text: &str) -> Result<&'static Cloud, Problem> {
    let names = CLOUDS.map(|cloud| cloud.name);
    let known = CLOUDS.iter().find(|cloud| cloud.name == text);
    known.ok_or_else(|| unknown_word("cloud", text, &names))
}

fn api_version_of(text: &str) -> Result<String, Problem> {
    let date = text.strip_suffix("-preview").unwrap_or(text);
    if date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(Problem::error(format!("\"{text}\" is not an API version"), "not a date")
        .help(format!("an API version is a date, such as \"{API_VERSION}\"")))
}

fn guid(text: &str, what: &str) -> Result<String, Problem> {
    if uuid::Uuid::parse_str(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(Problem::error(format!("\"{text}\" is not {what}"), "not a UUID").help(
        "use the id (a UUID) of the user-assigned identity or of the application, and of its tenant; \
         leave it out for the system-assigned one",
    ))
}
