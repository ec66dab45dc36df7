package model

// User is an account, owned by the user service.
type User struct {
	ID int64 `gorm:"primaryKey;autoIncrement:false"`
	// Name as it was registered, trimmed.
	Name string `gorm:"size:64;not null"`
	// NameKey is what is unique about the name: NFKC, case-folded, bounded.
	NameKey []byte `gorm:"size:255;not null;uniqueIndex"`
	// PasswordHash is an encoded argon2id hash; empty means nobody can log in.
	PasswordHash string `gorm:"size:255;not null"`
	// Avatar and BackgroundImage are media keys; empty means the generated picture.
	Avatar          string `gorm:"size:255;not null"`
	BackgroundImage string `gorm:"size:255;not null"`
	Signature       string `gorm:"size:255;not null"`
	CreatedAt       int64  `gorm:"not null"`
}

// Revocation says that tokens of a user count no more when they were issued before
// a time, owned by the user service.
type Revocation struct {
	UserID int64 `gorm:"primaryKey;autoIncrement:false"`
	// At is that time, in Unix milliseconds.
	At int64 `gorm:"not null;index"`
}

// The system account writes notices to users. It is made by a migration, has no
// password, and can be neither followed nor written to.
const (
	// SystemUserID is smaller than every drawn id.
	SystemUserID = 1
	// SystemUserName is reserved.
	SystemUserName = "系统通知"
)
