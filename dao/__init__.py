"""The memory: tables, one DAO a noun, the transition service, the audit chain."""
