//! The rendered text of every kind of problem, and the values of a good file.

use std::path::Path;

use vipfence_types::{Profile, Role};

use super::*;
use crate::os::Selector;

pub(super) const GOOD: &str = r#"cluster = "demo"
profile = "fast"

[node]
name = "n1"
data_dir = "/var/lib/vipfence"

[listen]
grpc = "127.0.0.1:7600"
http = "127.0.0.1:7601"

[[peers]]
name = "n1"
address = "127.0.0.1:7600"

[[peers]]
name = "n2"
address = "127.0.0.1:7610"

[[peers]]
name = "w"
address = "witness.internal:7600"
role = "witness"

[[nics]]
id = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkInterfaces/n1-nic"

[azure]
arm = "http://127.0.0.1:8000/"

[os]
driver = "userspace"
responder = "127.0.0.1:7800"
"#;

/// The good file with one piece replaced.
fn with(piece: &str, replacement: &str) -> String {
    assert!(GOOD.contains(piece), "the good file has no {piece}");
    GOOD.replacen(piece, replacement, 1)
}

pub(super) fn errors_of(text: &str) -> String {
    match parse("agent.toml", text, Path::new("/etc/vipfence")) {
        Ok(loaded) => panic!("accepted: {:?}", loaded.config),
        Err(error) => error.render(false),
    }
}

/// Asserts that the report has all of these pieces.
pub(super) fn shows(report: &str, pieces: &[&str]) {
    // Long help lines are wrapped.
    let flat = report.split_whitespace().collect::<Vec<_>>().join(" ").replace(" │ ", " ");
    for piece in pieces {
        assert!(flat.contains(piece), "no `{piece}` in:\n{report}");
    }
}

#[test]
fn a_good_file_gives_typed_values_and_defaults() {
    let loaded = parse("agent.toml", GOOD, Path::new("/etc/vipfence")).expect("it is good");
    let config = loaded.config;
    assert!(loaded.warnings.problems().is_empty(), "{}", loaded.warnings);
    assert_eq!((config.cluster.as_str(), config.node.as_str()), ("demo", "n1"));
    assert_eq!((config.profile, config.timing().lease_ttl_ms), (Profile::Fast, 4_000));
    assert_eq!(config.data_dir, Path::new("/var/lib/vipfence"));
    assert_eq!(config.peers.len(), 3);
    assert_eq!(config.peers.last().map(|peer| peer.role), Some(Role::Witness));
    assert_eq!(config.peers[0].address, "127.0.0.1:7600");
    assert_eq!(config.nics.first().map(|nic| nic.name.as_str()), Some("nic0"));
    assert_eq!(config.azure.arm, "http://127.0.0.1:8000");
    assert_eq!(config.azure.imds, "http://169.254.169.254");
    assert_eq!(config.azure.audience, "https://management.azure.com/");
    assert_eq!(config.azure.api_version, "2024-05-01");
    let responder = "127.0.0.1:7800".parse().expect("an address");
    assert_eq!(config.os, OsDriver::Userspace { responder });
}

#[test]
fn listeners_are_where_the_peers_expect_them_unless_said_otherwise() {
    let text = with("grpc = \"127.0.0.1:7600\"\nhttp = \"127.0.0.1:7601\"\n", "");
    let config = parse("f", &text, Path::new("")).expect("defaults").config;
    assert_eq!(config.listen.grpc.to_string(), "127.0.0.1:7600");
    assert_eq!(config.listen.http.to_string(), "127.0.0.1:7601");
    let by_name =
        text.replacen("address = \"127.0.0.1:7600\"", "address = \"n1.internal:7600\"", 1);
    shows(
        &errors_of(&by_name),
        &["where n1 listens cannot be told from a host name", "add `grpc = \"ADDRESS:PORT\"`"],
    );
}

#[test]
fn vips_move_away_at_a_stop_unless_they_are_to_be_kept() {
    let of = |text: &str| parse("f", text, Path::new("")).expect("good").config.on_stop;
    assert_eq!(of(GOOD), OnStop::Move);
    assert_eq!(of(&with("[node]\n", "[node]\non_stop = \"keep\"\n")), OnStop::Keep);
    let report = errors_of(&with("[node]\n", "[node]\non_stop = \"keeep\"\n"));
    shows(&report, &["on_stop", "keeep", "move", "keep"]);
}

#[test]
fn a_watchdog_device_is_used_only_where_the_file_names_one() {
    let of = |text: &str| parse("f", text, Path::new("")).expect("good").config.watchdog;
    assert_eq!(of(GOOD), None);
    let named = format!("{GOOD}\n[watchdog]\ndevice = \"/dev/watchdog\"\n");
    assert_eq!(of(&named).as_deref(), Some(Path::new("/dev/watchdog")));
    shows(&errors_of(&format!("{GOOD}\n[watchdog]\n")), &["device", "/dev/watchdog"]);
}

#[test]
fn a_relative_data_dir_counts_from_the_folder_of_the_file() {
    let text = with("/var/lib/vipfence", "data");
    let config = parse("f", &text, Path::new("/srv/n1")).expect("good").config;
    assert_eq!(config.data_dir, Path::new("/srv/n1/data"));
}

#[test]
fn an_unknown_key_is_marked_and_the_meant_one_named() {
    let report = errors_of(&with("data_dir =", "datadir ="));
    shows(
        &report,
        &[
            "`datadir` is not a key of [node]",
            "[agent.toml:6:1]",
            "datadir = \"/var/lib/vipfence\"",
            "unknown key",
            "did you mean `data_dir`?",
        ],
    );
    assert!(!report.contains("needs `data_dir`"), "said twice:\n{report}");
    let report = errors_of(&with("[azure]", "[azzure]"));
    shows(&report, &["`azzure` is not a key of the top of the file", "did you mean `azure`?"]);
    let report = errors_of(&with("role = \"witness\"", "zzz = 1"));
    shows(&report, &["`zzz` is not a key of [[peers]]", "the keys here are: name, address, role"]);
}

#[test]
fn what_is_missing_is_named_with_the_section_it_belongs_to() {
    shows(
        &errors_of(&with("name = \"n1\"\ndata_dir = \"/var/lib/vipfence\"\n", "")),
        &[
            "[node] needs `name`",
            "[agent.toml:4:1]",
            "add `name = \"n1\"`",
            "[node] needs `data_dir`",
        ],
    );
    shows(&errors_of(&with("cluster = \"demo\"\n", "")), &["the file needs `cluster`"]);
    shows(&errors_of(""), &["the file needs the section [node]", "the file needs `cluster`"]);
}

#[test]
fn a_wrong_type_says_what_is_there_and_what_should_be() {
    shows(
        &errors_of(&with("name = \"n1\"", "name = 1")),
        &["`name` must be a text", "this is a number", "write it in quotes: `name = \"…\"`"],
    );
    shows(
        &errors_of(&with("[listen]", "[listen]\ninsecure = \"yes\"")),
        &["`insecure` must be true or false", "this is a text", "write `insecure = true`"],
    );
    let text = format!("nics = 4\n{}", GOOD.replace("[[nics]]", "[x]"));
    shows(&errors_of(&text), &["`nics` must be a list of tables", "with a line `[[nics]]`"]);
    let text = format!("os = \"linux\"\n{}", GOOD.replace("[os]", "[x]"));
    shows(&errors_of(&text), &["`os` must be a table", "with a line `[os]`"]);
}

#[test]
fn a_name_that_is_not_valid_says_what_names_look_like() {
    let report = errors_of(&with("cluster = \"demo\"", "cluster = \"my_demo\""));
    shows(
        &report,
        &[
            "cluster name \"my_demo\" is not valid",
            "it has a character that is not allowed",
            "use 1 to 63 of a-z, 0-9 and '-'",
        ],
    );
}

#[test]
fn an_address_without_port_is_completed() {
    let report = errors_of(&with("address = \"127.0.0.1:7610\"", "address = \"10.5.0.5\""));
    shows(&report, &["the port is missing", "add the port, such as \"10.5.0.5:7600\""]);
    let report = errors_of(&with("grpc = \"127.0.0.1:7600\"", "grpc = \"127.0.0.1\""));
    shows(&report, &["\"127.0.0.1\" is not an address to listen on", "\"127.0.0.1:7600\""]);
    let report = errors_of(&with("address = \"127.0.0.1:7610\"", "address = \"http://n2:7600\""));
    shows(&report, &["a URL", "write host and port only"]);
    let report = errors_of(&with("address = \"127.0.0.1:7610\"", "address = \"n2:70000\""));
    shows(&report, &["a port is a number from 1 to 65535"]);
    let report = errors_of(&with("address = \"127.0.0.1:7610\"", "address = \"fd00::4:7600\""));
    shows(&report, &["an IPv6 address stands in brackets"]);
}

#[test]
fn unknown_profiles_roles_and_drivers_list_the_known_ones() {
    let report = errors_of(&with("profile = \"fast\"", "profile = \"standart\""));
    shows(
        &report,
        &[
            "profile \"standart\" is not known",
            "did you mean \"standard\"?",
            "fast, standard, tolerant",
        ],
    );
    let report = errors_of(&with("role = \"witness\"", "role = \"arbiter\""));
    shows(&report, &["role \"arbiter\" is not known", "member, witness, learner"]);
    let report = errors_of(&with("driver = \"userspace\"", "driver = \"linus\""));
    shows(&report, &["driver \"linus\" is not known", "did you mean \"linux\"?"]);
}

#[test]
fn without_an_os_section_addresses_are_the_kernels_and_their_interfaces_are_told() {
    let interfaces = |nic: &str| {
        let (before, _) = GOOD.split_once("[os]").expect("it is the last section");
        let text = before.replacen("[[nics]]", &format!("[[nics]]\n{nic}"), 1);
        match parse("f", &text, Path::new("")).map(|loaded| loaded.config.os) {
            Ok(OsDriver::Linux { interfaces }) => Ok(interfaces),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let found = |nic: &str| interfaces(nic).expect("good")[0].selector.clone();
    assert_eq!(found(""), Selector::Subnet);
    assert_eq!(found("interface = \"eth1\""), Selector::Name("eth1".to_owned()));
    let mac = Selector::Mac([0, 0x0d, 0x3a, 1, 2, 0xff]);
    assert_eq!(found("mac = \"00:0d:3a:01:02:ff\""), mac);
    assert_eq!(found("mac = \"00-0D-3A-01-02-FF\""), mac);
    for (wrong, said) in [
        ("mac = \"00:0d:3a\"", "\"00:0d:3a\" is not a MAC address"),
        ("interface = \"eth 0\"", "\"eth 0\" is not the name of an interface"),
        ("interface = \"eth0\"\nmac = \"00:0d:3a:01:02:ff\"", "not by both"),
    ] {
        shows(&interfaces(wrong).unwrap_err(), &[said]);
    }
    let report = errors_of(&with("driver = \"userspace\"", "driver = \"linux\""));
    shows(&report, &["a kernel address has no responder", "`driver = \"userspace\"`"]);
}

#[test]
fn a_malformed_nic_id_shows_what_an_id_looks_like() {
    let report = errors_of(&with("Microsoft.Network/networkInterfaces/n1-nic", "n1-nic"));
    shows(&report, &["this is not the id of a network interface", "az network nic show"]);
}

#[test]
fn what_stands_twice_is_marked_the_second_time() {
    let report = errors_of(&with("name = \"n2\"", "name = \"N1\""));
    shows(&report, &["peer \"n1\" stands twice", "[agent.toml:17:8]", "the second time"]);
    let report = errors_of(&with("127.0.0.1:7610", "127.0.0.1:7600"));
    shows(&report, &["address \"127.0.0.1:7600\" stands twice"]);
    let nic = GOOD.split("[[nics]]").nth(1).and_then(|rest| rest.split("[azure]").next());
    let second = nic.expect("a NIC").to_ascii_uppercase().replace("ID =", "name = \"back\"\nid =");
    let report = errors_of(&with("[azure]", &format!("[[nics]]{second}[azure]")));
    shows(&report, &["NIC id", "stands twice", "name every NIC once"]);
}

#[test]
fn a_node_that_is_not_among_the_peers_gets_the_list() {
    let report = errors_of(&with("name = \"n1\"\ndata_dir", "name = \"x9\"\ndata_dir"));
    shows(&report, &["this node, \"x9\", is not among the peers", "the peers are: n1, n2, w"]);
    let start = GOOD.find("[[peers]]").expect("peers");
    let end = GOOD.find("[[nics]]").expect("nics");
    let mut text = GOOD.to_owned();
    text.replace_range(start..end, "");
    shows(&errors_of(&text), &["the file names no peers", "add a [[peers]] entry for every node"]);
}

#[test]
fn an_even_number_of_votes_is_a_warning_and_not_an_error() {
    let text = with("role = \"witness\"", "role = \"learner\"");
    let loaded = parse("agent.toml", &text, Path::new("")).expect("a warning only");
    let report = loaded.warnings.to_string();
    shows(&report, &["2 of the peers vote: an even number", "add a witness", "[agent.toml:12:1]"]);
}

#[test]
fn a_listener_beyond_loopback_needs_the_word_insecure() {
    let text = with("grpc = \"127.0.0.1:7600\"", "grpc = \"0.0.0.0:7600\"");
    let report = errors_of(&text);
    shows(
        &report,
        &[
            "a listener on 0.0.0.0 would be open to the network without encryption",
            "grpc = \"0.0.0.0:7600\"",
            "whoever reaches this port can move VIPs",
            "`insecure = true` in [listen]",
        ],
    );
    let accepted = text.replacen("[listen]", "[listen]\ninsecure = true", 1);
    assert!(parse("f", &accepted, Path::new("")).is_ok_and(|loaded| loaded.config.listen.insecure));
}

#[test]
fn plain_http_to_arm_is_for_this_machine_only() {
    let report = errors_of(&with("http://127.0.0.1:8000/", "http://arm.example:8000"));
    shows(&report, &["`arm` would send tokens over plain http", "use https"]);
    let local = with("http://127.0.0.1:8000/", "http://[::1]:8000");
    assert!(parse("f", &local, Path::new("")).is_ok());
    let report = errors_of(&with("http://127.0.0.1:8000/", "management.azure.com"));
    shows(&report, &["is not a URL", "\"https://management.azure.com\""]);
}

#[test]
fn the_other_azure_values_are_checked_as_well() {
    let azure = |line: &str| errors_of(&with("[azure]", &format!("[azure]\n{line}")));
    shows(&azure("api_version = \"latest\""), &["\"latest\" is not an API version"]);
    shows(&azure("client_id = \"me\""), &["\"me\" is not a client id", "not a UUID"]);
    shows(&azure("ca_file = \"no.pem\""), &["there is no file /etc/vipfence/no.pem"]);
}

#[test]
fn a_cloud_brings_its_endpoints_and_single_ones_can_be_replaced() {
    let azure = |lines: &str| {
        let text =
            with("[azure]\narm = \"http://127.0.0.1:8000/\"\n", &format!("[azure]\n{lines}"));
        parse("f", &text, Path::new("")).map(|loaded| loaded.config.azure)
    };
    let public = azure("").expect("good");
    assert_eq!(public.authority, "https://login.microsoftonline.com");
    let government = azure("cloud = \"us-government\"").expect("good");
    assert_eq!(government.arm, "https://management.usgovcloudapi.net");
    assert_eq!(government.audience, "https://management.usgovcloudapi.net/");
    assert_eq!(government.authority, "https://login.microsoftonline.us");
    let china = azure("cloud = \"china\"\nauthority = \"https://login.example/\"").expect("good");
    assert_eq!(china.arm, "https://management.chinacloudapi.cn");
    assert_eq!(china.authority, "https://login.example");
    let report = azure("cloud = \"germany\"").expect_err("closed").render(false);
    shows(&report, &["cloud \"germany\"", "public", "us-government", "china"]);
    let report = azure("authority = \"http://login.example\"").expect_err("plain").render(false);
    shows(&report, &["`authority` would send tokens over plain http"]);
}

#[test]
fn each_kind_of_identity_has_keys_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s").expect("written");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("changed");
    let azure =
        |lines: &str| parse("f", &with("[azure]", &format!("[azure]\n{lines}")), folder.path());
    let errors = |lines: &str| azure(lines).expect_err("wrong").render(false);
    let ids = "tenant_id = \"00000000-0000-0000-0000-00000000000a\"\n\
               client_id = \"00000000-0000-0000-0000-00000000000b\"";
    let identity = |lines: &str| azure(lines).expect("good").config.azure.identity;

    assert_eq!(identity(""), Identity::Managed { client_id: None });
    assert_eq!(identity("identity = \"az\""), Identity::AzCli { tenant_id: None });
    let workload = Identity::Workload { tenant_id: None, client_id: None, token_file: None };
    assert_eq!(identity("identity = \"workload\""), workload);
    let good = format!("identity = \"secret\"\nsecret_file = \"secret\"\n{ids}");
    let Identity::Secret { secret_file, .. } = identity(&good) else { panic!("another kind") };
    assert_eq!(secret_file, secret);
    assert!(azure(&good).expect("good").warnings.problems().is_empty());

    shows(&errors("identity = \"secrt\""), &["identity \"secrt\"", "did you mean \"secret\""]);
    shows(
        &errors("identity = \"secret\""),
        &["identity = \"secret\" needs tenant_id, client_id, secret_file"],
    );
    shows(
        &errors(&format!("identity = \"managed\"\n{ids}")),
        &["`tenant_id` does not belong to identity = \"managed\"", "the keys: client_id"],
    );
    shows(&errors("identity = \"az\"\ntenant_id = \"x\""), &["\"x\" is not a tenant id"]);
    shows(&errors("identity = \"workload\"\ntoken_file = \"no\""), &["there is no file"]);
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .expect("changed");
    let warnings = azure(&good).expect("a warning").warnings.to_string();
    shows(&warnings, &["can be read by others (mode 644)", "chmod 600"]);
}

#[test]
fn a_member_needs_a_nic_and_a_witness_does_not() {
    let start = GOOD.find("[[nics]]").expect("nics");
    let end = GOOD.find("[azure]").expect("azure");
    let mut text = GOOD.to_owned();
    text.replace_range(start..end, "");
    shows(&errors_of(&text), &["n1 may hold VIPs but has no NIC", "role \"witness\""]);
    let witness = text.replacen(
        "[[peers]]\nname = \"n1\"",
        "[[peers]]\nrole = \"witness\"\nname = \"n1\"",
        1,
    );
    assert!(parse("f", &witness, Path::new("")).is_ok_and(|loaded| loaded.config.nics.is_empty()));
}

#[test]
fn broken_toml_points_at_the_place() {
    let report = errors_of(&with("cluster = \"demo\"", "cluster = demo"));
    shows(&report, &["this is not valid TOML", "[agent.toml:1:11]"]);
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text =
        with("profile = \"fast\"", "profile = \"quick\"").replacen("driver =", "driwer =", 1);
    let report = errors_of(&text);
    let first = report.find("profile \"quick\"").expect("the first");
    let last = report.find("`driwer`").expect("the last");
    assert!(first < last, "{report}");
}

#[test]
fn a_missing_file_names_the_path() {
    let error = load(Path::new("/nonexistent/agent.toml")).expect_err("no file");
    let report = error.render(false);
    assert!(report.starts_with("error: cannot read /nonexistent/agent.toml: "), "{report}");
    assert!(report.contains("help: give the path of an existing file with --config"), "{report}");
    assert!(error.to_string().contains("/nonexistent/agent.toml"));
}
