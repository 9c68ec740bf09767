// Package config is the configuration of a mount: one YAML file, every key
// optional except the target, strict. Flags win over the file, the file over
// SINKFS_* in the environment.
package config

// Config is the whole file. The tags are the keys; doc is what the schema
// says about them.
type Config struct {
	origin         origin     // where each value was set
	Target         string     `yaml:"target" doc:"where finished files go: a path or file:///dir, s3://bucket/prefix, oss://bucket/prefix"`
	StateDir       string     `yaml:"state_dir" doc:"journal and spool; default per user and target"`
	SpoolDir       string     `yaml:"spool_dir" doc:"the spool elsewhere than in state_dir"`
	Mode           string     `yaml:"mode" enum:"streaming,batch" doc:"batch publishes nothing before the end of input"`
	ReadUnfinished string     `yaml:"read_unfinished" enum:"none,owner,all" doc:"who may read a file that is not finished, by its exact name"`
	SourceTTL      Duration   `yaml:"source_ttl" doc:"how long a name is kept after all of its bytes are finished and nobody has it open"`
	Manifests      bool       `yaml:"manifests" doc:"write the manifest of every checkpoint to the target too"`
	Checkpoint     Checkpoint `yaml:"checkpoint" doc:"when and how pending parts are published"`
	Control        Control    `yaml:"control" doc:"who may trigger checkpoints"`
	SinkList       []Sink     `yaml:"sinks" doc:"subtrees of the mount with their own rules; the longest matching path wins"`
	Store          Store      `yaml:"store" doc:"how a store is reached; secrets by reference only"`
}

// Checkpoint is when and how pending parts are published.
type Checkpoint struct {
	Interval      Duration `yaml:"interval" doc:"time between timer checkpoints; 0 is only when asked"`
	Timeout       Duration `yaml:"timeout" doc:"of a whole checkpoint, then parts that are not staged go to the next one"`
	CommitTimeout Duration `yaml:"commit_timeout" doc:"of one part without progress, then it goes on in the background"`
	Retain        int      `yaml:"retain" doc:"how many checkpoints are remembered with all their parts"`
	AlarmAfter    Duration `yaml:"alarm_after" doc:"alarm when nothing was published for so long although something waits"`
}

// Control is who may trigger checkpoints, besides the owner of the mount.
type Control struct {
	Group string   `yaml:"group" doc:"name or number of the group of .sinkfs/checkpoint"`
	Mode  FileMode `yaml:"mode" doc:"permission bits of .sinkfs/checkpoint"`
}

// Sink is a subtree of the mount.
type Sink struct {
	Path        string   `yaml:"path" doc:"directory in the mount, / is all of it"`
	Kind        string   `yaml:"kind" enum:"stream,file" doc:"stream: files are logs of records; file: each closed file becomes one part"`
	Format      string   `yaml:"format" enum:"raw" doc:"how records become the bytes of a part"`
	Bucket      Bucket   `yaml:"bucket" doc:"directory that a part goes to"`
	Rolling     Rolling  `yaml:"rolling" doc:"when an open part is sealed"`
	Names       Names    `yaml:"names" doc:"names of part files"`
	Coalesce    bool     `yaml:"coalesce" doc:"pack the records of several sources into one part"`
	Temporary   []string `yaml:"temporary" doc:"globs of names that are never published"`
	Rotated     []string `yaml:"rotated" doc:"globs of names that log rotation makes, never published"`
	Whole       []string `yaml:"whole" doc:"globs of names that are whole files in a stream sink"`
	MaxRecord   Size     `yaml:"max_record" doc:"longest record; longer ones are cut there, each piece is one"`
	Torn        string   `yaml:"torn" enum:"publish" doc:"what becomes of a last record without its end once nobody can end it"`
	OnUnknown   string   `yaml:"on_unknown" enum:"restage,hold" doc:"what to do when the store lost a staged part: stage it again, or stop and ask"`
	AllowDelete bool     `yaml:"allow_delete" doc:"finished files may be unlinked through the mount"`
}

// Bucket chooses the directory that a part goes to.
type Bucket struct {
	Assigner string `yaml:"assigner" enum:"datetime,base-path" doc:"default: datetime for streams, base-path for files"`
	Pattern  string `yaml:"pattern" doc:"of datetime, in the letters of Java's DateTimeFormatter"`
	Zone     string `yaml:"zone" doc:"time zone of datetime, as in the tz database"`
}

// Rolling is Flink's rolling policy.
type Rolling struct {
	MaxPartSize        Size     `yaml:"max_part_size" doc:"a part ends with the first record past this size"`
	RolloverInterval   Duration `yaml:"rollover_interval" doc:"longest time that a part is open"`
	InactivityInterval Duration `yaml:"inactivity_interval" doc:"longest time without a new record"`
	OnCheckpoint       bool     `yaml:"on_checkpoint" doc:"every checkpoint seals what is open"`
	CheckInterval      Duration `yaml:"check_interval" doc:"how often the ages are looked at"`
}

// Names are the names of part files: <prefix>-<instance>-<n><suffix>.
type Names struct {
	Prefix string `yaml:"prefix" doc:"first word of the name"`
	Suffix string `yaml:"suffix" doc:"end of the name, with its dot"`
}

// Store is how stores are reached.
type Store struct {
	S3  S3  `yaml:"s3" doc:"for s3:// targets"`
	OSS OSS `yaml:"oss" doc:"for oss:// targets"`
}

// S3 is how an S3 store is reached, and what objects in it are like.
type S3 struct {
	Endpoint      string `yaml:"endpoint" doc:"URL of a store that is not Amazon's"`
	Region        string `yaml:"region" doc:"region of the bucket, else that of the environment or profile"`
	PathStyle     bool   `yaml:"path_style" doc:"bucket in the path instead of the host name"`
	Profile       string `yaml:"profile" doc:"profile of the shared AWS configuration, else the environment, web identity and the role of the host are tried"`
	RoleARN       string `yaml:"role_arn" doc:"role to assume with the credentials found"`
	SSE           string `yaml:"sse" enum:",AES256,aws:kms,aws:kms:dsse" doc:"encryption by the store, else as the bucket is configured"`
	KMSKey        string `yaml:"kms_key" doc:"id of the key of aws:kms"`
	StorageClass  string `yaml:"storage_class" doc:"storage class of objects, else the store's default"`
	Tags          string `yaml:"tags" doc:"tags of every object, as a=b&c=d"`
	RequesterPays bool   `yaml:"requester_pays" doc:"agree to pay for requests"`
	Proxy         string `yaml:"proxy" doc:"URL of an HTTP proxy, else that of the environment"`
	CAFile        string `yaml:"ca_file" doc:"PEM file of certificates to trust besides the system's"`
	Checksum      string `yaml:"checksum" enum:"crc32c,none" doc:"checksum that the store verifies; none for stores that do not know it"`
	PartSize      Size   `yaml:"part_size" doc:"part of a multipart upload; grows for large objects"`
	PartMemory    Size   `yaml:"part_memory" doc:"bound of all parts in flight together"`
	Connections   int    `yaml:"connections" doc:"connections to the store at a time"`
}

// OSS is how a bucket of Alibaba Cloud OSS is reached, and what objects in it
// are like.
type OSS struct {
	Endpoint      string `yaml:"endpoint" doc:"host or URL, else it follows from the region"`
	Region        string `yaml:"region" doc:"region of the bucket, as in cn-hangzhou; else it follows from the endpoint"`
	Internal      bool   `yaml:"internal" doc:"use the region's endpoint within its network"`
	Accelerate    bool   `yaml:"accelerate" doc:"use the transfer acceleration endpoint"`
	CNAME         bool   `yaml:"cname" doc:"endpoint is a domain of the bucket itself"`
	Signature     string `yaml:"signature" enum:"v4,v1" doc:"version of the signature"`
	Profile       string `yaml:"profile" doc:"profile of the files of the Alibaba Cloud CLI and SDKs, else the environment, RRSA, these files and the role of the instance are tried"`
	ECSRole       string `yaml:"ecs_role" doc:"RAM role of this ECS instance, instead of them"`
	RoleARN       string `yaml:"role_arn" doc:"role to assume with the credentials found"`
	SSE           string `yaml:"sse" enum:",AES256,KMS,SM4" doc:"encryption by the store, else as the bucket is configured"`
	KMSKey        string `yaml:"kms_key" doc:"id of the key of KMS"`
	StorageClass  string `yaml:"storage_class" doc:"storage class of objects, else that of the bucket"`
	Tags          string `yaml:"tags" doc:"tags of every object, as a=b&c=d"`
	RequesterPays bool   `yaml:"requester_pays" doc:"agree to pay for requests"`
	Proxy         string `yaml:"proxy" doc:"URL of an HTTP proxy, else that of the environment"`
	CAFile        string `yaml:"ca_file" doc:"PEM file of certificates to trust besides the system's"`
	PartSize      Size   `yaml:"part_size" doc:"part of a multipart upload; grows for large objects"`
	PartMemory    Size   `yaml:"part_memory" doc:"bound of all parts in flight together"`
	Connections   int    `yaml:"connections" doc:"connections to the store at a time"`
}
