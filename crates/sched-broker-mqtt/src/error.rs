//! What goes wrong with a server, as [`Error`]s: the one place where the client's errors are mapped.

use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use sched_core::{Error, ErrorKind};

/// The error of a connection.
pub(crate) fn from_client(error: ConnectionError) -> Error {
    let (kind, hint) = meaning(&error);
    let text = match hint {
        Some(hint) => hint.to_owned(),
        None => error.to_string(),
    };
    Error::new(kind, text).with_source(error)
}

/// The connection ended while something was on its way.
pub(crate) fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was lost")
}

fn meaning(error: &ConnectionError) -> (ErrorKind, Option<&'static str>) {
    use ConnectReturnCode::{
        BadClientId, BadUserNamePassword, NotAuthorized, RefusedProtocolVersion, ServiceUnavailable,
    };
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            BadUserNamePassword => (ErrorKind::InvalidConfig, Some("the user or the password is wrong")),
            NotAuthorized => (ErrorKind::InvalidConfig, Some("the server refuses this user")),
            BadClientId => (ErrorKind::InvalidConfig, Some("the server refuses this `client_id`")),
            RefusedProtocolVersion => (ErrorKind::Unsupported, Some("the server does not speak MQTT 3.1.1")),
            ServiceUnavailable => (ErrorKind::Unavailable, Some("the server is not available")),
            _ => (ErrorKind::Unexpected, None),
        },
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            (ErrorKind::Timeout, Some("the server did not answer in time"))
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            (ErrorKind::Timeout, Some("the server does not answer any more"))
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            (ErrorKind::Unavailable, Some("the server has ended the connection"))
        }
        _ => (ErrorKind::Unavailable, None),
    }
}
