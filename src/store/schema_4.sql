-- Whether the entry's transaction may be seen before it is on the primary's disk: the link has it flushed before it carries it.
ALTER TABLE pgduet.journal ADD COLUMN unflushed bool NOT NULL DEFAULT current_setting('synchronous_commit') = 'off';
