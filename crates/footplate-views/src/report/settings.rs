//! A run's settings as a flat list, so that two runs can be told apart.

use std::collections::BTreeMap;

/// Settings by their path, such as `optimizer.momentum`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flat(pub(crate) BTreeMap<String, String>);

impl Flat {
    /// From TOML; a text that is none gives no settings.
    pub(crate) fn parse(text: &str) -> Self {
        let mut flat = BTreeMap::new();
        if let Ok(table) = text.parse::<toml::Table>() {
            flatten("", &toml::Value::Table(table), &mut flat);
        }
        Self(flat)
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

fn flatten(path: &str, value: &toml::Value, flat: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, flat);
            }
        }
        toml::Value::String(text) => {
            flat.insert(path.to_owned(), text.clone());
        }
        other => {
            flat.insert(path.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_paths() {
        let flat = Flat::parse("model = \"lenet5\"\n[optimizer]\nmomentum = 0.9\n");
        assert_eq!((flat.get("model"), flat.get("optimizer.momentum")), (Some("lenet5"), Some("0.9")));
        assert_eq!(Flat::parse("no = = toml"), Flat::default());
    }
}
