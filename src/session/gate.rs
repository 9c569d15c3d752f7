//! Who may come in: the configuration's word on it, with its secret files read. Immutable: other files mean another gate, which takes this
//! one's place in [`super::Context::gate`] for the clients that come then.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::auth::{Hello, Verifier};
use crate::backend::login::{Credentials, Secret};
use crate::config::{Allow, ClientAuth, ClientCertificate, Config, TlsMode};
use crate::net::tls::Acceptor;
use crate::side::{BySide, Side};
use crate::wire::Notice;

pub struct Gate {
    pub auth: ClientAuth,
    tls: TlsMode,
    acceptor: Option<Acceptor>,
    client_certificate: ClientCertificate,
    allow: Vec<Allow>,
    users: HashMap<String, User>,
    /// Salts of users that do not exist come from this.
    mock: [u8; 32],
}

/// A login from the configuration.
pub struct User {
    pub verifier: Option<Verifier>,
    pub credentials: BySide<Credentials>,
}

impl Gate {
    /// Reads the secret files. Errors name the key and the file, never what is in it.
    pub fn from_config(config: &Config) -> Result<Gate, String> {
        let clients = &config.clients;
        let users = clients.users.iter().enumerate().map(|(at, user)| read_user(at, user));
        let acceptor = match clients.tls.mode {
            TlsMode::Disable => None,
            TlsMode::Allow | TlsMode::Require => Some(Acceptor::from_files(&clients.tls)?),
        };
        Ok(Gate {
            auth: clients.auth,
            tls: clients.tls.mode,
            acceptor,
            client_certificate: clients.tls.client_certificate,
            allow: clients.allow.clone(),
            users: users.collect::<Result<_, _>>()?,
            mock: rand::random(),
        })
    }

    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.acceptor.as_ref()
    }

    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// What an unknown user's password is checked against, in vain: of the form that known users' have.
    pub fn nobody(&self, name: &str) -> Verifier {
        let some = self.users.values().filter_map(|user| user.verifier.as_ref()).next();
        Verifier::nobody(&self.mock, name, some)
    }

    /// Whether a client may try at all, before it proves anything: PostgreSQL's pg_hba.conf.
    pub fn admit(&self, hello: &Hello, from: Option<IpAddr>) -> Result<(), Box<Notice>> {
        let in_clear = hello.encrypted.is_none();
        if in_clear && self.tls == TlsMode::Require {
            return Err(Box::new(no_entry(hello, from).hint("clients.tls.mode of pgduet is require.")));
        }
        let admitted = |from| self.allow.iter().any(|line| line.admits(&hello.user, from, !in_clear));
        if !self.allow.is_empty() && !from.is_some_and(admitted) {
            return Err(Box::new(no_entry(hello, from).hint("clients.allow of pgduet has no line for it.")));
        }
        let certified = hello.encrypted.as_ref().is_some_and(|e| e.certificate.is_some());
        match self.client_certificate {
            ClientCertificate::Optional => Ok(()),
            _ if certified => Ok(()),
            _ => Err(Box::new(Notice::fatal("28000", "connection requires a valid client certificate"))),
        }
    }

    /// Whether the certificate, where it counts, is the user's own.
    pub fn certifies(&self, hello: &Hello) -> bool {
        let certificate = hello.encrypted.as_ref().and_then(|e| e.certificate.as_ref());
        let named = certificate.and_then(|c| c.common_name.as_ref());
        self.client_certificate != ClientCertificate::VerifyFull || named == Some(&hello.user)
    }
}

fn no_entry(hello: &Hello, from: Option<IpAddr>) -> Notice {
    let host = from.map_or("[unknown]".into(), |ip| ip.to_canonical().to_string());
    let how = if hello.encrypted.is_none() { "no encryption" } else { "SSL encryption" };
    let (user, database) = (&hello.user, &hello.database);
    let message = format!("no pg_hba.conf entry for host \"{host}\", user \"{user}\", database \"{database}\", {how}");
    Notice::fatal("28000", message)
}

fn read_user(at: usize, user: &crate::config::User) -> Result<(String, User), String> {
    let read = |key: &str, file: &Option<PathBuf>| -> Result<Option<String>, String> {
        let Some(path) = file else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("clients.users[{at}].{key}: {}: {e}", path.display()))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let password = read("password_file", &user.password_file)?;
    let stored = match &user.verifier {
        Some(verifier) => Some(verifier.0.clone()),
        None => read("verifier_file", &user.verifier_file)?,
    };
    let verifier =
        match (&stored, &password) {
            (Some(text), _) => Some(Verifier::parse(text.trim()).ok_or(format!(
                "clients.users[{at}].verifier: not of the form SCRAM-SHA-256$iterations:salt$key:key"
            ))?),
            (None, Some(password)) => Verifier::from_password(password),
            (None, None) => None,
        };
    let own = |password: Option<String>| password.map_or(Secret::None, Secret::Password);
    let mut credentials = BySide::from_fn(|_| Credentials { user: user.name.clone(), secret: own(password.clone()) });
    for (side, name, other) in [(Side::Old, "old", &user.old), (Side::New, "new", &user.new)] {
        if let Some(other) = other {
            let password = read(&format!("{name}.password_file"), &other.password_file)?.or_else(|| password.clone());
            *credentials.get_mut(side) = Credentials { user: other.user.clone(), secret: own(password) };
        }
    }
    Ok((user.name.clone(), User { verifier, credentials }))
}
