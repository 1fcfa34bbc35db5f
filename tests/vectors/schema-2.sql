BEGIN TRANSACTION;
CREATE TABLE accounts (
        number INTEGER PRIMARY KEY,
        created INTEGER NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        external_id TEXT UNIQUE,
        brand TEXT NOT NULL,
        status TEXT NOT NULL,
        max_active_keys INTEGER,
        api_access TEXT NOT NULL,
        features TEXT NOT NULL,
        default_scopes TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        created_by TEXT
    , audit_number INTEGER NOT NULL DEFAULT 0, audit_hash TEXT NOT NULL
        DEFAULT '0000000000000000000000000000000000000000000000000000000000000000') STRICT;
INSERT INTO "accounts" VALUES(243063039,1,1,'Acme','org-1','kg','active',5,'{"live":"active","test":"active"}','["beta"]','["contacts:read"]',1800000000000,'u-1',4,'34c2c18c64b7f864563c7ddb369327994c84228bc6cc146a5a3a9678057a4bfd');
CREATE TABLE audit (
        account INTEGER NOT NULL REFERENCES accounts (number),
        number INTEGER NOT NULL,
        text TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (account, number)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "audit" VALUES(243063039,1,'{"account":"acct_030e7cd8ff","number":1,"at":"2027-01-15T08:00:00.000Z","sequence":1,"credential":"root","actor":"u-1","action":"account.create","subject":"acct_030e7cd8ff","before":null,"after":{"api_access":{"live":"active","test":"active"},"brand":"kg","default_scopes":["contacts:read"],"external_id":"org-1","features":["beta"],"max_active_keys":5,"name":"Acme","status":"active"},"previous":"0000000000000000000000000000000000000000000000000000000000000000"}','030b6039aafa82a7b984934f81545e91194a4102ec589de57727cf9a762d7c1f');
INSERT INTO "audit" VALUES(243063039,2,'{"account":"acct_030e7cd8ff","number":2,"at":"2027-01-15T08:00:00.000Z","sequence":2,"credential":"root","actor":"u-1","action":"key.issue","subject":"key_08d4a1293cb6a61c66ac","before":null,"after":{"environment":"live","expires_at":"2030-03-17T17:46:40.000Z","name":"deploy","not_before":null,"scopes":["contacts:read"],"status":"active"},"previous":"030b6039aafa82a7b984934f81545e91194a4102ec589de57727cf9a762d7c1f"}','f978db31b46c9b7efe96d092ca57330c41b73336b2719f22b2ae7059966932fa');
INSERT INTO "audit" VALUES(243063039,3,'{"account":"acct_030e7cd8ff","number":3,"at":"2027-01-15T08:00:00.000Z","sequence":3,"credential":"root","actor":"u-1","action":"key.issue","subject":"key_50ec9597f5213595bde2","before":null,"after":{"environment":"live","expires_at":null,"name":"deploy","not_before":null,"scopes":["contacts:read"],"status":"active"},"previous":"f978db31b46c9b7efe96d092ca57330c41b73336b2719f22b2ae7059966932fa"}','b336d0caadfa4d6627e6caeebcfb09bb530abbcd8fdb202468051e6ab2506a9a');
INSERT INTO "audit" VALUES(243063039,4,'{"account":"acct_030e7cd8ff","number":4,"at":"2027-01-15T08:00:00.000Z","sequence":4,"credential":"root","actor":"u-1","action":"key.revoke","subject":"key_08d4a1293cb6a61c66ac","before":{"status":"active"},"after":{"status":"revoked"},"previous":"b336d0caadfa4d6627e6caeebcfb09bb530abbcd8fdb202468051e6ab2506a9a"}','34c2c18c64b7f864563c7ddb369327994c84228bc6cc146a5a3a9678057a4bfd');
CREATE TABLE commands (
        id TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        status INTEGER NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        nonce TEXT,
        mint TEXT,
        outdated TEXT NOT NULL,
        mirrored INTEGER,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "commands" VALUES('0d18adfd4acbadb09cdfcd34228607baa8a5b3ce667e267b3aaa4b3247e94d48','c3d0cb1fa7d82cad95d4979a836807804b802e6960ab2b42d6de4e9276fbab1b',200,1,'answer to 4',NULL,NULL,'grant:08d4a1293cb6a61c66ac081e213ef7fac57c63a537bdeb13',NULL,1800000000000);
INSERT INTO "commands" VALUES('3e4a778a23a83b2c67d2593c097a1fa0311c72fa554881e0592bcd682e002ccb','2e1c991f77b830fdcedc6a0ef7fcd3650d3bcb346baa06579ca5822253fbc1d4',200,1,'answer to 3','0000000000000003070707070707070707070707070707070707070707070707','{"pepper":1,"brand":"kg","environment":"live","account":"acct_030e7cd8ff"}','grant:50ec9597f5213595bde25e24c1053036f4e5ca394520d2fb',NULL,1800000000000);
INSERT INTO "commands" VALUES('5a3aa835d11167c70b00d92d58bbbc523f7adb378af50fdf874bcc53958cfb63','d6552105c509d0cc6f5d91f8e565d78fb22625b8873bf42d0cf3d9f01928c140',200,1,'answer to 2','0000000000000002070707070707070707070707070707070707070707070707','{"pepper":1,"brand":"kg","environment":"live","account":"acct_030e7cd8ff"}','grant:08d4a1293cb6a61c66ac081e213ef7fac57c63a537bdeb13',NULL,1800000000000);
INSERT INTO "commands" VALUES('75e8a98e70132c2984d801fce3ef05bd27bdb8f879332869aee534f7d8a2fe29','8494888fb58a214539a66c46d0718244dea2f8a79e5f24d843ac8e3cea438aad',200,1,'answer to 1',NULL,NULL,'account:3.243063039',NULL,1800000000000);
CREATE TABLE feed (
        position INTEGER PRIMARY KEY,
        subject TEXT NOT NULL UNIQUE,
        sequence INTEGER NOT NULL
    ) STRICT;
INSERT INTO "feed" VALUES(1,'key:08d4a1293cb6a61c',4);
CREATE TABLE keys (
        digest TEXT PRIMARY KEY,
        account INTEGER NOT NULL REFERENCES accounts (number),
        issued INTEGER NOT NULL,
        version INTEGER NOT NULL,
        name TEXT,
        environment TEXT NOT NULL,
        scopes TEXT NOT NULL,
        status TEXT NOT NULL,
        hint TEXT NOT NULL,
        pepper INTEGER NOT NULL,
        not_before INTEGER,
        expires_at INTEGER,
        created_at INTEGER NOT NULL,
        created_by TEXT,
        revoked_at INTEGER
    ) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('08d4a1293cb6a61c66ac081e213ef7fac57c63a537bdeb13',243063039,2,4,'deploy','live','["contacts:read"]','revoked','kg_live_...B3bF',1,NULL,1900000000000,1800000000000,'u-1',1800000000000);
INSERT INTO "keys" VALUES('50ec9597f5213595bde25e24c1053036f4e5ca394520d2fb',243063039,3,3,'deploy','live','["contacts:read"]','active','kg_live_...bWEi',1,NULL,NULL,1800000000000,'u-1',NULL);
CREATE TABLE meta (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        schema INTEGER NOT NULL,
        epoch TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        feed_position INTEGER NOT NULL,
        feed_rows INTEGER NOT NULL,
        feed_low INTEGER NOT NULL,
        feed_cut INTEGER NOT NULL
    ) STRICT;
INSERT INTO "meta" VALUES(1,2,'000102030405060708090a0b0c0d0e0f',4,1,1,0,0);
CREATE TABLE outbox (
        kv_key TEXT PRIMARY KEY,
        sequence INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "outbox" VALUES('account:3.243063039',1,0,0,1800000000000,1800000000000);
INSERT INTO "outbox" VALUES('grant:08d4a1293cb6a61c66ac081e213ef7fac57c63a537bdeb13',4,0,0,1800000000000,1800000000000);
INSERT INTO "outbox" VALUES('grant:50ec9597f5213595bde25e24c1053036f4e5ca394520d2fb',3,0,0,1800000000000,1800000000000);
CREATE UNIQUE INDEX keys_of_account ON keys (account, issued);
CREATE INDEX keys_in_use ON keys (account, environment) WHERE status <> 'revoked';
CREATE INDEX outbox_due ON outbox (priority, due_at);
CREATE INDEX commands_by_age ON commands (at);
COMMIT;
