//! Who listens on a port, as far as this user may know: for error messages only.

use std::fs;

/// "vipfence (process 123)"; nothing where it cannot be told.
pub(super) fn of(port: u16) -> Option<String> {
    let socket = format!("socket:[{}]", inode(port)?);
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let path = process.path();
        // The entries that are no processes have other names.
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        // Fails for those of other users.
        let mut files = fs::read_dir(path.join("fd")).ok()?.flatten();
        files.find(|file| {
            fs::read_link(file.path()).is_ok_and(|link| link.to_str() == Some(socket.as_str()))
        })?;
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some(format!("{} (process {pid})", name.trim()))
    })
}

/// Of the socket that listens there, from the kernel's table.
fn inode(port: u16) -> Option<String> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().find_map(|line| listening(line, port))
    })
}

/// `0: 0100007F:1DB0 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 …`
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let listens = fields.get(3) == Some(&"0A");
    let here = u16::from_str_radix(local_port, 16).ok()? == port;
    (listens && here).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_of_that_port_counts() {
        let line = "  0: 0100007F:1DB0 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                    1000 0 12345 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listening(line, 7600).as_deref(), Some("12345"));
        assert_eq!(listening(line, 7601), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 7600), None);
        assert_eq!(listening("  sl  local_address rem_address   st", 7600), None);
    }
}
