//! PostgreSQL: the statements, the schema, the role, TLS, faults, and Agira beside the worker.

mod agiras_webhook;
mod beside_agira;
mod claims;
mod collation;
mod deleted_rows;
mod managed;
mod pgbouncer;
mod postgres_faults;
mod postgres_tls;
mod role;
mod schema;
mod sick_session;
