//! What a tree of control files can do: the seam between those who read and write nodes and where the nodes are.

use std::io;

/// A tree of nodes. Paths are absolute as the running system has them, such as `/sys/class/hwmon`.
pub trait Tree: Send + Sync {
    /// The node's whole content.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Writes a node's content in one write, as `echo -n VALUE > path` does. Never creates a node.
    fn write(&self, path: &str, value: &str) -> io::Result<()>;
    /// Names in a folder, sorted.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// What a symbolic link says, as it stands there.
    fn link(&self, path: &str) -> io::Result<String>;
    /// Whether something is there; links are followed. An error when that cannot be known.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Whether a write would be let through, without writing. `Ok` does not promise that the value is taken.
    fn writable(&self, path: &str) -> io::Result<()>;
    /// Keeps a node open to read it again and again.
    fn open(&self, path: &str) -> io::Result<Box<dyn Probe>>;
}

/// A node that is kept open.
pub trait Probe: Send {
    /// Reads the node anew from its beginning and puts it in place of what `text` held.
    fn read(&mut self, text: &mut String) -> io::Result<()>;
}

/// Whether a name fits a pattern in which `*` stands for any number of characters.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    if after.is_empty() {
        return true;
    }
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_even_nothing_and_a_name_is_matched_whole() {
        for (pattern, name, expected) in [
            ("policy*", "policy0", true),
            ("policy*", "policy", true),
            ("policy*", "xpolicy0", false),
            ("*-throttle-alert", "cpu-throttle-alert", true),
            ("*-throttle-alert", "cpu-throttle-alert2", false),
            ("oc*_irq_cnt", "oc12_irq_cnt", true),
            ("oc*_irq_cnt", "oc_irq", false),
            ("a*b*c", "a1b2b3c", true),
            ("*", "", true),
            ("", "x", false),
            ("tegra_heavy", "tegra_heavy", true),
            ("*ü*", "grün", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
