//! Dialogue scripts for machines.
