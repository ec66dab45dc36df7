package user

import (
	"context"
	"strings"
	"unicode/utf8"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/text"
	pb "backbeat/proto/user"
)

// Register creates an account.
func (s *Server) Register(ctx context.Context, in *pb.RegisterRequest, out *pb.RegisterResponse) error {
	name := strings.TrimSpace(in.Name)
	if err := check(name, in.Password); err != nil {
		return err
	}
	hash, err := s.passwords.Hash(ctx, in.Password)
	if err != nil {
		return err
	}
	out.UserId, err = s.store.create(ctx, name, hash)
	return err
}

// check returns an Invalid error unless both may be registered (API §2.2, D8).
func check(name, password string) error {
	switch {
	case name == "" || strings.TrimSpace(password) == "":
		return errs.New(errs.Invalid, "用户名或密码不能为空")
	case tooLong(name, password):
		return errs.New(errs.Invalid, "用户名或密码不能超过32位")
	case !text.Valid(name, text.MaxName) || !text.Valid(password, text.MaxPassword):
		return errs.New(errs.Invalid, "用户名或密码含有无效字符")
	}
	return nil
}

func tooLong(name, password string) bool {
	return utf8.RuneCountInString(name) > text.MaxName || utf8.RuneCountInString(password) > text.MaxPassword
}

// Login checks a password. Whatever could be registered costs one hash, whether
// the name exists or not; what is too long for that costs none.
func (s *Server) Login(ctx context.Context, in *pb.LoginRequest, out *pb.LoginResponse) error {
	wrong := errs.New(errs.Unauthenticated, "用户名或密码错误")
	name := strings.TrimSpace(in.Name)
	if tooLong(name, in.Password) {
		return wrong
	}
	account, err := s.store.credentials(ctx, name)
	if err != nil {
		return err
	}
	right, err := s.passwords.Verify(ctx, in.Password, account.PasswordHash)
	if err != nil {
		return err
	}
	if !right {
		return wrong
	}
	out.UserId = account.ID
	return nil
}

// BatchGet returns the users with the given ids.
func (s *Server) BatchGet(ctx context.Context, in *pb.BatchGetRequest, out *pb.BatchGetResponse) error {
	if err := batch.Check(in.Ids); err != nil {
		return err
	}
	rows, err := s.store.byIDs(ctx, in.Ids)
	if err != nil {
		return err
	}
	out.Users = toEntities(rows)
	return nil
}

// Revocations returns whose tokens count no more.
func (s *Server) Revocations(ctx context.Context, in *pb.RevocationsRequest, out *pb.RevocationsResponse) error {
	rows, err := s.store.revocations(ctx, in.From)
	for _, row := range rows {
		out.Revocations = append(out.Revocations, &pb.Revocation{UserId: row.UserID, IssuedBefore: row.At})
	}
	return err
}
