package store

// BucketRecord is a bucket with its settings, each nil until it is made.
type BucketRecord struct {
	Bucket       Bucket                   `json:"bucket"`
	Versioning   *BucketVersioning        `json:"versioning,omitempty"`
	Encryption   *BucketEncryption        `json:"encryption,omitempty"`
	PublicAccess *BucketPublicAccessBlock `json:"publicAccess,omitempty"`
	// PublicAccessRemoved says that the block which every new bucket has was removed.
	PublicAccessRemoved bool                     `json:"publicAccessRemoved,omitempty"`
	Ownership           *BucketOwnershipControls `json:"ownership,omitempty"`
	Policy              *BucketPolicy            `json:"policy,omitempty"`
	Lifecycle           *BucketLifecycle         `json:"lifecycle,omitempty"`
}

// Bucket is a bucket; its id is its name.
type Bucket struct {
	ID                string            `json:"id"`
	Bucket            string            `json:"bucket"`
	BucketPrefix      string            `json:"bucketPrefix,omitempty"`
	ForceDestroy      bool              `json:"forceDestroy"`
	ObjectLockEnabled bool              `json:"objectLockEnabled"`
	Tags              map[string]string `json:"tags,omitempty"`

	Arn                      string `json:"arn"`
	BucketDomainName         string `json:"bucketDomainName"`
	BucketRegionalDomainName string `json:"bucketRegionalDomainName"`
	HostedZoneID             string `json:"hostedZoneId"`
	Region                   string `json:"region"`
}

// BucketVersioning is the versioning of a bucket. The id of this and of the
// other settings of a bucket is the bucket's name.
type BucketVersioning struct {
	ID                      string                  `json:"id"`
	Bucket                  string                  `json:"bucket"`
	ExpectedBucketOwner     string                  `json:"expectedBucketOwner,omitempty"`
	VersioningConfiguration VersioningConfiguration `json:"versioningConfiguration"`
}

// VersioningConfiguration holds the status: Enabled, Suspended or Disabled.
type VersioningConfiguration struct {
	Status    string `json:"status"`
	MfaDelete string `json:"mfaDelete,omitempty"`
}

// BucketEncryption is the default encryption of a bucket.
type BucketEncryption struct {
	ID                  string           `json:"id"`
	Bucket              string           `json:"bucket"`
	ExpectedBucketOwner string           `json:"expectedBucketOwner,omitempty"`
	Rules               []EncryptionRule `json:"rules"`
}

// EncryptionRule is the one rule that a default encryption has.
type EncryptionRule struct {
	ApplyServerSideEncryptionByDefault *EncryptionDefault `json:"applyServerSideEncryptionByDefault,omitempty"`
	BucketKeyEnabled                   bool               `json:"bucketKeyEnabled,omitempty"`
}

// EncryptionDefault names the algorithm.
type EncryptionDefault struct {
	SseAlgorithm string `json:"sseAlgorithm"`
}

// BucketPublicAccessBlock is the public access block of a bucket.
type BucketPublicAccessBlock struct {
	ID                    string `json:"id"`
	Bucket                string `json:"bucket"`
	BlockPublicAcls       bool   `json:"blockPublicAcls"`
	BlockPublicPolicy     bool   `json:"blockPublicPolicy"`
	IgnorePublicAcls      bool   `json:"ignorePublicAcls"`
	RestrictPublicBuckets bool   `json:"restrictPublicBuckets"`
}

// BucketOwnershipControls says who owns new objects.
type BucketOwnershipControls struct {
	ID     string        `json:"id"`
	Bucket string        `json:"bucket"`
	Rule   OwnershipRule `json:"rule"`
}

// OwnershipRule holds the object ownership: BucketOwnerEnforced,
// BucketOwnerPreferred or ObjectWriter.
type OwnershipRule struct {
	ObjectOwnership string `json:"objectOwnership"`
}

// BucketPolicy is the policy as the program wrote it.
type BucketPolicy struct {
	ID     string `json:"id"`
	Bucket string `json:"bucket"`
	Policy string `json:"policy"`
}

// BucketLifecycle is the lifecycle configuration of a bucket.
type BucketLifecycle struct {
	ID                                 string          `json:"id"`
	Bucket                             string          `json:"bucket"`
	ExpectedBucketOwner                string          `json:"expectedBucketOwner,omitempty"`
	TransitionDefaultMinimumObjectSize string          `json:"transitionDefaultMinimumObjectSize"`
	Rules                              []LifecycleRule `json:"rules"`
}

// LifecycleRule is one rule. Times are in days.
type LifecycleRule struct {
	ID                             string                          `json:"id"`
	Status                         string                          `json:"status"`
	Filter                         *LifecycleFilter                `json:"filter,omitempty"`
	Expiration                     *LifecycleExpiration            `json:"expiration,omitempty"`
	NoncurrentVersionExpiration    *NoncurrentVersionExpiration    `json:"noncurrentVersionExpiration,omitempty"`
	AbortIncompleteMultipartUpload *AbortIncompleteMultipartUpload `json:"abortIncompleteMultipartUpload,omitempty"`
}

// LifecycleFilter says which objects a rule is about. Sizes are in bytes.
type LifecycleFilter struct {
	Prefix                string        `json:"prefix,omitempty"`
	ObjectSizeGreaterThan int64         `json:"objectSizeGreaterThan,omitempty"`
	ObjectSizeLessThan    int64         `json:"objectSizeLessThan,omitempty"`
	Tag                   *LifecycleTag `json:"tag,omitempty"`
	And                   *LifecycleAnd `json:"and,omitempty"`
}

// LifecycleTag is a tag that objects must have.
type LifecycleTag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// LifecycleAnd is a filter of several conditions.
type LifecycleAnd struct {
	Prefix                string            `json:"prefix,omitempty"`
	ObjectSizeGreaterThan int64             `json:"objectSizeGreaterThan,omitempty"`
	ObjectSizeLessThan    int64             `json:"objectSizeLessThan,omitempty"`
	Tags                  map[string]string `json:"tags,omitempty"`
}

// LifecycleExpiration expires current versions.
type LifecycleExpiration struct {
	Date                      string `json:"date,omitempty"`
	Days                      int    `json:"days,omitempty"`
	ExpiredObjectDeleteMarker bool   `json:"expiredObjectDeleteMarker,omitempty"`
}

// NoncurrentVersionExpiration deletes versions that are no longer current.
type NoncurrentVersionExpiration struct {
	NewerNoncurrentVersions int `json:"newerNoncurrentVersions,omitempty"`
	NoncurrentDays          int `json:"noncurrentDays"`
}

// AbortIncompleteMultipartUpload removes the parts of unfinished uploads.
type AbortIncompleteMultipartUpload struct {
	DaysAfterInitiation int `json:"daysAfterInitiation"`
}
