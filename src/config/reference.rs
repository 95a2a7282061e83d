//! A list of all settings, made from the flags themselves, for whoever wants to check a document
//! against them.

use clap::{Args as _, Command};

use super::{Layer, SettingsArgs};

/// One setting of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDoc {
    /// Its flag, e.g. `--listen`.
    pub flag: String,
    /// Its variable, e.g. `COUNTERSIGN_LISTEN`.
    pub env: String,
    /// Its entry in the settings file, e.g. `listen`; `None` where the file can't say it.
    pub file_key: Option<String>,
    /// What it is without any of the three; empty if it has no default.
    pub default: String,
    /// What it does.
    pub meaning: String,
}

/// All settings of the server, in the order of `--help`.
pub fn reference() -> Vec<SettingDoc> {
    let in_file: Vec<String> = flags(&Layer::augment_args(Command::new("countersign")));
    let command = SettingsArgs::augment_args(Command::new("countersign"));
    let docs = command.get_arguments().filter_map(|arg| {
        let name = arg.get_long()?.to_owned();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (meaning, default) = split_default(&help);
        Some(SettingDoc {
            flag: format!("--{name}"),
            env: arg.get_env()?.to_string_lossy().into_owned(),
            file_key: in_file.contains(&name).then_some(name),
            default,
            meaning,
        })
    });
    docs.collect()
}

fn flags(command: &Command) -> Vec<String> {
    command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
}

/// A help text without its `[default: …]`, and that default.
fn split_default(help: &str) -> (String, String) {
    let split = help.split_once("[default: ").and_then(|(meaning, rest)| {
        Some((meaning.trim().to_owned(), rest.strip_suffix(']')?.to_owned()))
    });
    split.unwrap_or_else(|| (help.trim().to_owned(), String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn every_setting_has_a_flag_a_variable_a_meaning_and_all_but_the_file_itself_an_entry() {
        let all = reference();
        assert!(all.len() > 10);
        for doc in all {
            let name = doc.flag.trim_start_matches("--").to_owned();
            assert_eq!(doc.env, format!("COUNTERSIGN_{}", name.replace('-', "_").to_uppercase()));
            assert_eq!(doc.file_key, (name != "config").then_some(name), "{}", doc.flag);
            assert!(!doc.meaning.is_empty() && !doc.meaning.contains('['), "{}", doc.flag);
        }
    }

    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let settings = Settings::from_layer(Layer::default()).expect("the defaults are good");
        for (name, value) in settings.describe() {
            let doc = reference().into_iter().find(|doc| doc.file_key.as_deref() == Some(name));
            let default = doc.unwrap_or_else(|| panic!("{name} is documented")).default;
            let said_in_words = ["database-url", "root-key-file", "verify-auth", "verify-threads"];
            assert!(
                default == value || said_in_words.contains(&name),
                "{name}: {default} is not {value}"
            );
        }
    }
}
