//! What may be typed.

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{
    args::{Cli, ClientCommand, Command, Format, VipCommand},
    exit::Exit,
};

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn command(line: &str) -> Command {
    parsed(line).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_move_takes_all_that_the_api_does() {
    let line = "vipfence move demo --to n2 --expect-holder n1 --expect-epoch 7 --request-id r \
                --timeout 90s --force -o json";
    let cli = parsed(line).expect("valid");
    assert_eq!(cli.options.output, Format::Json);
    let Command::Client(ClientCommand::Move(args)) = cli.command else { panic!("not a move") };
    assert_eq!((args.vip.as_str(), args.to.as_deref()), ("demo", Some("n2")));
    assert_eq!((args.expect_holder.as_deref(), args.expect_epoch), (Some("n1"), Some(7)));
    assert_eq!(args.wait.request_id.as_deref(), Some("r"));
    assert_eq!(args.wait.timeout.map(|timeout| timeout.as_secs()), Some(90));
    assert!(args.force && !args.dry_run);
}

#[test]
fn endpoints_may_be_repeated_or_separated_by_commas() {
    let cli = parsed("vipfence status --endpoint n1,n2:7610 --endpoint http://n3").expect("valid");
    let endpoints: Vec<String> = cli.options.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["n1:7600", "n2:7610", "n3:7600"]);
}

#[test]
fn a_vip_is_created_with_addresses_candidates_and_policies() {
    let line = "vipfence vip create demo --address 10.5.0.110 --address fd00::9/64@front \
                --candidate n1=200 --candidate n2 --release early --on-quorum-loss hold";
    let Command::Client(ClientCommand::Vip(VipCommand::Create(args))) = command(line) else {
        panic!("not a creation")
    };
    assert_eq!((args.addresses.len(), args.policies.candidates.len()), (2, 2));
    assert!(parsed("vipfence vip create demo").is_err(), "an address is needed");
}

#[test]
fn what_is_wrongly_used_ends_with_code_2() {
    for line in [
        "vipfence",
        "vipfence mvoe demo",
        "vipfence move",
        "vipfence move demo --timeout 90",
        "vipfence move demo --timeout 90s --no-wait",
        "vipfence move demo --expect-epoch 0",
        "vipfence status --endpoint https://n1",
        "vipfence history --limit 0",
        "vipfence status -o yaml",
        "vipfence pause",
        "vipfence pause --vip demo --cluster",
        "vipfence pause --cluster --for 2",
        "vipfence resume",
        "vipfence confirm",
        "vipfence vip update demo --failback soon",
        "vipfence vip update demo --flap-budget 3",
        "vipfence vip update demo --failover confirm:60s",
        "vipfence vip update demo --all-candidates --candidate n1",
    ] {
        let error = parsed(line).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.number()), "{line}");
    }
}

#[test]
fn the_agent_needs_only_its_configuration() {
    let Command::Agent(args) = command("vipfence agent --config /x/agent.toml --check-config")
    else {
        panic!("not the agent")
    };
    assert!(args.check_config && args.config.ends_with("agent.toml"));
}

#[cfg(feature = "dev")]
#[test]
fn dev_has_the_defaults_of_the_design() {
    let Command::Dev(args) = command("vipfence dev") else { panic!("not dev") };
    assert_eq!((args.nodes, args.base_port), (3, 7600));
    assert_eq!(args.profile, vipfence_types::Profile::Fast);
    assert_eq!(args.arm_latency.as_secs(), 1);
    assert!(args.dir.is_none() && args.restart_after.is_none() && !args.keep);
    assert!(parsed("vipfence dev --keep").is_err(), "--keep needs --dir");
    assert!(parsed("vipfence dev --nodes 0").is_err());
}

#[test]
fn what_belongs_to_a_rehearsal_is_refused_without_one() {
    for more in ["--to n2", "--port 80", "--client h:1", "--nodes-probe h:1", "--force"] {
        assert!(parsed(&format!("vipfence doctor {more}")).is_err(), "{more}");
        let line = format!("vipfence doctor --rehearse demo {more}");
        assert!(parsed(&line).is_ok(), "{more}");
    }
    for other in ["--vip demo", "--this-node", "--config f"] {
        assert!(parsed(&format!("vipfence doctor --rehearse demo {other}")).is_err(), "{other}");
    }
}
