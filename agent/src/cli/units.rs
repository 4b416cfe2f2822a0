//! `vipfence units`: the drop-ins of the units that the node's file names. Asks no cluster.

use std::{fs, path::Path};

use vipfence_types::VipName;

use super::{Session, args::UnitsArgs, exit::Exit, failure::Failure};
use crate::{
    config::{self, NodeConfig},
    duty::drop_in,
};

/// Prints the drop-ins, or writes them.
pub(super) fn run(session: &mut Session, args: &UnitsArgs) -> Result<Exit, Failure> {
    let config = config::load(&args.config)
        .map_err(|error| Failure::new(Exit::Usage, error.render(false)))?
        .config;
    let drop_ins = drop_ins(&config)?;
    if drop_ins.is_empty() {
        session.out.note(&format!("{}: no VIP of this node has units", args.config.display()));
    }
    for (name, text) in drop_ins {
        match &args.write {
            Some(folder) => {
                write(folder, &name, &text)?;
                session.out.note(&format!("written: {}", folder.join(&name).display()));
            }
            None => session.out.line(&format!("# {name}\n{text}")),
        }
    }
    if args.write.is_some() {
        session.out.note("next: systemctl daemon-reload; and `systemctl disable` the units");
    }
    Ok(Exit::Done)
}

/// Names relative to systemd's folder, and texts.
fn drop_ins(config: &NodeConfig) -> Result<Vec<(String, String)>, Failure> {
    let data_dir = std::path::absolute(&config.data_dir)
        .map_err(|error| Failure::new(Exit::Failed, format!("data_dir: {error}")))?;
    let vips = config.vips.iter();
    let each = vips.flat_map(|(vip, setup)| setup.units.iter().map(move |unit| (vip, unit)));
    let text = |(vip, unit): (&VipName, &String)| {
        (format!("{unit}.d/50-vipfence.conf"), drop_in(unit, vip, &data_dir))
    };
    Ok(each.map(text).collect())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        // A unit that starts reads the old one or the new one.
        let draft = path.with_extension("new");
        fs::write(&draft, text)?;
        fs::rename(draft, &path)
    });
    written.map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
            .help("give --write a folder that you may write to, or print and place them yourself")
    })
}
