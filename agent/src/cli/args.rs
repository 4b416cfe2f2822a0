//! What may be typed: the commands, their arguments, and the help that is shown for them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
#[cfg(feature = "dev")]
use vipfence_types::Profile;
use vipfence_types::{DataPath, Failback, Failover, FlapBudget};

use super::{parse, rehearse::RehearseArgs, target::Target};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  refused: nothing was changed
  4  no quorum, or no node was reached
  5  timed out: the move goes on, and its id was printed
  130  interrupted: a move that was acknowledged goes on";

/// Virtual IPs on Azure that follow the healthy node, fenced by consensus
#[derive(Debug, Parser)]
#[command(name = "vipfence", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// How to reach the cluster, and how to print.
    #[command(flatten)]
    pub(crate) options: ClientOptions,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What all client commands understand.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOptions {
    /// A node's gRPC address; several are tried in turn
    #[arg(
        long = "endpoint",
        global = true,
        value_name = "HOST:PORT",
        env = "VIPFENCE_ENDPOINTS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7600",
        help_heading = "Client options"
    )]
    pub(crate) endpoints: Vec<Target>,
    /// How to print: tables for people, or the API's answer as JSON
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t = Format::Table,
        help_heading = "Client options"
    )]
    pub(crate) output: Format,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned text.
    Table,
    /// The protobuf JSON of the answer; streams print one document per line.
    Json,
}

/// All commands.
#[allow(clippy::large_enum_variant, reason = "there is one of it, once")]
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node agent
    Agent(AgentArgs),
    /// Run a cluster on this machine, with a simulated Azure
    #[cfg(feature = "dev")]
    Dev(DevArgs),
    /// A command that talks to a running cluster.
    #[command(flatten)]
    Client(ClientCommand),
}

/// `vipfence agent`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AgentArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/vipfence/agent.toml")]
    pub(crate) config: PathBuf,
    /// Only check the configuration
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// `vipfence dev`.
#[cfg(feature = "dev")]
#[derive(Clone, Debug, Args)]
pub(crate) struct DevArgs {
    /// Where to keep everything [default: a new temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Go on with what is in DIR instead of starting fresh
    #[arg(long, requires = "dir")]
    pub(crate) keep: bool,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: u16,
    /// The cluster's timers: fast, standard or tolerant
    #[arg(long, default_value = "fast", value_parser = parse::profile)]
    pub(crate) profile: Profile,
    /// How long a simulated Azure operation takes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    pub(crate) arm_latency: Duration,
    /// The first port; 0 = any free ones
    #[arg(long, value_name = "PORT", default_value_t = 7600)]
    pub(crate) base_port: u16,
    /// Start a node that died again after so long [default: leave it dead]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) restart_after: Option<Duration>,
}

/// The commands that talk to a running cluster.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Show the cluster: leader, nodes, VIPs; without a quorum, what one node knows
    Status,
    /// Move a VIP to another node, and wait until it is held there
    Move(MoveArgs),
    /// Define VIPs and look at them
    #[command(subcommand)]
    Vip(VipCommand),
    /// Hands off: pause automatic moves of a VIP, a node or the cluster; by hand all still moves
    Pause(PauseArgs),
    /// Go on with automatic moves
    Resume(ResumeArgs),
    /// Answer a failover that waits for somebody's word
    Confirm(ConfirmArgs),
    /// Print a line for every change of the VIPs, until interrupted
    Watch(WatchArgs),
    /// Show past moves, newest first, and what happened
    History(HistoryArgs),
    /// Make the leader stop leading; VIPs do not move
    StepDown,
    /// Look for what would go wrong in a failover: every node, Azure, rights, guests; changes nothing,
    /// unless --rehearse asks for a move there and back
    Doctor(DoctorArgs),
    /// What the nodes need in Azure
    #[command(subcommand)]
    Azure(AzureCommand),
    /// Print drop-ins that bind the systemd units of this node's VIPs to the agent, or write them
    Units(UnitsArgs),
}

/// `vipfence units`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UnitsArgs {
    /// The node's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/vipfence/agent.toml")]
    pub(crate) config: PathBuf,
    /// Write them below this folder, such as /etc/systemd/system; `systemctl daemon-reload` comes next
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
}

/// What is paused, or goes on.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScopeArgs {
    /// One VIP
    #[arg(long, value_name = "VIP")]
    pub(crate) vip: Option<String>,
    /// One node: what it holds stays, and nothing comes to it by itself
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Everything
    #[arg(long)]
    pub(crate) cluster: bool,
}

/// `vipfence pause`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PauseArgs {
    /// Of what.
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// For so long, such as 30m or 2h [default: until `vipfence resume`]
    #[arg(long = "for", value_name = "TIME", value_parser = parse::duration)]
    pub(crate) lasts: Option<Duration>,
    /// What for: shown wherever the pause is
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// `vipfence resume`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Of what.
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
}

/// `vipfence confirm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// The VIP
    #[arg(value_name = "VIP")]
    pub(crate) vip: String,
    /// It is to stay; a later word may say otherwise
    #[arg(long)]
    pub(crate) no: bool,
}

/// `vipfence doctor`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only what concerns this VIP, and the nodes
    #[arg(long, value_name = "VIP", conflicts_with = "config")]
    pub(crate) vip: Option<String>,
    /// Only the node that is asked
    #[arg(long, conflicts_with = "config")]
    pub(crate) this_node: bool,
    /// The same as -o json
    #[arg(long)]
    pub(crate) json: bool,
    /// A load balancer's frontend that the nodes are to stand behind: its ARM id
    #[arg(long, value_name = "ID")]
    pub(crate) load_balancer: Option<String>,
    /// The port on which the holder is to answer its health probe
    #[arg(long, value_name = "PORT", requires = "load_balancer")]
    pub(crate) probe_port: Option<u16>,
    /// Without a cluster: examine this machine, whose agent has this configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// An address that is to become a VIP; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "config")]
    pub(crate) address: Vec<std::net::IpAddr>,
    /// Where the files of the machine are: the folder of an image that does not run
    #[arg(long, value_name = "DIR", default_value = "/", requires = "config")]
    pub(crate) root: PathBuf,
    /// Whether to move a VIP there and back.
    #[command(flatten)]
    pub(crate) rehearsal: RehearseArgs,
}

/// `vipfence move`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MoveArgs {
    /// The VIP
    #[arg(value_name = "VIP")]
    pub(crate) vip: String,
    /// Where to [default: the best eligible candidate other than the holder]
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<String>,
    /// Refuse unless this node holds the VIP
    #[arg(long, value_name = "NODE")]
    pub(crate) expect_holder: Option<String>,
    /// Refuse unless this is the VIP's epoch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) expect_epoch: Option<u64>,
    /// Only show what would be done
    #[arg(long, conflicts_with_all = ["no_wait", "timeout"])]
    pub(crate) dry_run: bool,
    /// Skip the eligibility of the target, and take the address from a foreign secondary
    /// ipConfiguration; shortens no wait
    #[arg(long)]
    pub(crate) force: bool,
    /// How to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// How a command that starts a move waits for its end.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WaitArgs {
    /// Return as soon as the cluster has taken the order
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait at most so long, such as 90s or 5m [default: until it ends]
    #[arg(long, value_name = "TIME", value_parser = parse::duration, conflicts_with = "no_wait")]
    pub(crate) timeout: Option<Duration>,
    /// Names this request: repeated with the same id, it is executed once [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

/// `vipfence vip`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum VipCommand {
    /// Define a VIP and place it
    Create(CreateArgs),
    /// List the VIPs
    List,
    /// Show one VIP in full
    Show(NameArgs),
    /// Change a VIP's candidates and policies: what is not named stays as it is
    Update(UpdateArgs),
    /// Place a disabled VIP again
    Enable(ChangeArgs),
    /// Drop and detach the address; the VIP stays defined
    Disable(ChangeArgs),
    /// Release and detach the address, then forget the VIP
    Delete(ChangeArgs),
}

/// Names a VIP.
#[derive(Clone, Debug, Args)]
pub(crate) struct NameArgs {
    /// The VIP
    #[arg(value_name = "VIP")]
    pub(crate) name: String,
}

/// `vipfence vip enable`, `disable`, `delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The VIP
    #[arg(value_name = "VIP")]
    pub(crate) name: String,
    /// How to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `vipfence vip create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    pub(crate) name: String,
    /// An address, with prefix length and NIC if wanted: 10.5.0.110, 10.5.0.110/24, fd00::9@front
    #[arg(long = "address", required = true, value_name = "A[/P][@NIC]", value_parser = parse::address)]
    pub(crate) addresses: Vec<parse::Address>,
    /// Candidates and policies.
    #[command(flatten)]
    pub(crate) policies: PolicyArgs,
    /// The address is the frontend of an Azure load balancer: no ipConfiguration moves, the holder
    /// alone answers the health probe on this port of its own
    #[arg(long, value_name = "tcp:PORT|http:PORT", value_parser = parse::probe)]
    pub(crate) probe: Option<parse::ProbeArg>,
    /// What the holder says to the health probe [default: nothing]
    #[arg(long, value_name = "TEXT", requires = "probe")]
    pub(crate) probe_reply: Option<String>,
    /// Where to place it first [default: the best eligible candidate]
    #[arg(long, value_name = "NODE", conflicts_with = "disabled")]
    pub(crate) to: Option<String>,
    /// Define it, but do not place it
    #[arg(long)]
    pub(crate) disabled: bool,
    /// How to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `vipfence vip update`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The VIP
    #[arg(value_name = "VIP")]
    pub(crate) name: String,
    /// Every member and learner may hold it
    #[arg(long, conflicts_with = "candidates")]
    pub(crate) all_candidates: bool,
    /// Candidates and policies.
    #[command(flatten)]
    pub(crate) policies: PolicyArgs,
    /// Names this request: repeated with the same id, it is executed once [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

/// What can be said about a VIP when it is defined, and changed later.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PolicyArgs {
    /// A node that may hold it; a greater priority is preferred (100 if none is given)
    /// [default: every member and learner]
    #[arg(long = "candidate", value_name = "NODE[=PRIORITY]", value_parser = parse::candidate)]
    pub(crate) candidates: Vec<parse::CandidateArg>,
    /// When the old holder of a planned move lets go [default: late]
    #[arg(long, value_enum)]
    pub(crate) release: Option<ReleaseArg>,
    /// How long a holder may take to let go [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    pub(crate) release_timeout: Option<Duration>,
    /// What a holder does while it cannot reach a majority [default: release]
    #[arg(long, value_enum)]
    pub(crate) on_quorum_loss: Option<QuorumLossArg>,
    /// What is done where somebody else changed in Azure where the VIP is [default: repair]
    #[arg(long, value_enum)]
    pub(crate) drift: Option<DriftArg>,
    /// When it goes back by itself to a candidate of higher priority: manual, after:TIME (eligible for
    /// so long), prefer (for 10 s) [default: manual]
    #[arg(long, value_name = "WHEN", value_parser = parse::failback)]
    pub(crate) failback: Option<Failback>,
    /// How often its health, or its way back, may move it by itself [default: 3/10m]
    #[arg(long, value_name = "MOVES/TIME", value_parser = parse::flap_budget)]
    pub(crate) flap_budget: Option<FlapBudget>,
    /// Whether a failover waits for `vipfence confirm`: automatic, confirm:TIME:move (and then moves),
    /// confirm:TIME:stay [default: automatic]
    #[arg(long, value_name = "HOW", value_parser = parse::failover)]
    pub(crate) failover: Option<Failover>,
    /// Whether another node has to reach the VIP at its new holder, and at which TCP port it tries
    /// (one that refuses counts): off, report, required, report:PORT, required:PORT [default: off]
    #[arg(long, value_name = "HOW", value_parser = parse::data_path)]
    pub(crate) data_path: Option<(DataPath, u16)>,
}

/// When the old holder of a planned move lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReleaseArg {
    /// Serves until Azure has detached the address: the shortest outage
    Late,
    /// Releases first, then Azure detaches
    Early,
}

/// What a holder does while it cannot reach a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuorumLossArg {
    /// Lets the address go when its lease ends
    Release,
    /// Keeps serving; one holder at a time is then not promised
    Hold,
}

/// What is done about drift in Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriftArg {
    /// It is shown, and put right by a move
    Repair,
    /// It is shown only
    Report,
}

/// `vipfence watch`.
#[derive(Clone, Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only this VIP
    #[arg(value_name = "VIP")]
    pub(crate) vip: Option<String>,
}

/// `vipfence history`.
#[derive(Clone, Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only this VIP
    #[arg(value_name = "VIP")]
    pub(crate) vip: Option<String>,
    /// Only the events (with -o json: the events in place of the moves)
    #[arg(long)]
    pub(crate) events: bool,
    /// At most so many moves, and so many events
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

/// `vipfence azure`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AzureCommand {
    /// Print the least role that the nodes' identities need, and how to assign it
    ///
    /// It allows the requests that vipfence sends and nothing else; deleting is not among them. Its
    /// scopes are the resource groups of the NICs that the nodes report to the cluster, and of what
    /// those NICs refer to: subnets, security groups, public addresses, pools of load balancers.
    /// The latter stands in the documents of the NICs, which come from --nic-documents or --config.
    /// The role goes to standard output, the commands to type go to standard error.
    Role(RoleArgs),
}

/// `vipfence azure role`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoleArgs {
    /// For `az role definition create` (JSON), or for a deployment (Bicep)
    #[arg(long, value_enum, default_value_t = RoleFormat::Json)]
    pub(crate) format: RoleFormat,
    /// The role's name, unique in the tenant [default: vipfence and the cluster's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What `az network nic show --ids ID...` prints of the cluster's NICs; - = standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) nic_documents: Vec<PathBuf>,
    /// On a node: reads the NICs with the node's identity, as far as it may already
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One more resource that NICs will refer to, or a resource group or subscription to cover
    #[arg(long = "scope", value_name = "ID")]
    pub(crate) scopes: Vec<String>,
    /// Leave out what only `vipfence doctor` reads: locks, rights, VMs
    #[arg(long)]
    pub(crate) no_doctor: bool,
    /// Where to assign it: whole resource groups, or the single resources as they are now
    #[arg(long, value_enum, default_value_t = RoleScope::Groups)]
    pub(crate) assign: RoleScope,
}

/// How a role is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleFormat {
    /// The file that `az role definition create --role-definition` takes
    Json,
    /// A template of a subscription
    Bicep,
}

/// Where a role is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleScope {
    /// What comes later in the groups is covered
    Groups,
    /// As narrow as it gets
    Resources,
}
