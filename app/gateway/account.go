package gateway

import (
	"context"

	"backbeat/app/errs"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

// registerUser makes an account and logs it in (API §2.2).
func (g *Gateway) registerUser(ctx context.Context, q *request) (answer, error) {
	if !g.registering.Load() {
		return nil, errs.New(errs.Forbidden, "暂停注册，请稍后再试")
	}
	name, err := q.params.text("username")
	if err != nil {
		return nil, err
	}
	password, err := q.params.text("password")
	if err != nil {
		return nil, err
	}
	if err := counted(g.metrics.refusals.registration, g.limits.registration(q.sender)); err != nil {
		return nil, err
	}
	made, err := g.rpc.register.do(ctx, &user.RegisterRequest{Name: name, Password: password})
	if err != nil {
		return nil, err
	}
	return g.begin(q, made.GetUserId(), "注册成功")
}

// login has one failure for every wrong pair of name and password (API §2.3).
func (g *Gateway) login(ctx context.Context, q *request) (answer, error) {
	name, badName := q.params.text("username")
	password, badPassword := q.params.text("password")
	if badName != nil || badPassword != nil { // no account has such a one
		return nil, errs.New(errs.Unauthenticated, "用户名或密码错误")
	}
	var found *user.LoginResponse
	tried := false
	err := g.limits.login(q.sender, name, func() (err error) {
		tried = true
		found, err = g.rpc.login.do(ctx, &user.LoginRequest{Name: name, Password: password})
		return err
	})
	if err != nil && !tried {
		return nil, counted(g.metrics.refusals.login, err)
	}
	if err != nil {
		return nil, err
	}
	return g.begin(q, found.GetUserId(), "登录成功")
}

// begin hands out a token. It was issued when the request came: whatever was revoked
// while the password was looked at is.
func (g *Gateway) begin(q *request, id int64, text string) (answer, error) {
	signed, err := g.keys.Sign(id, q.now)
	if err != nil {
		return nil, err
	}
	return &sessionAnswer{success(text), id, signed}, nil
}

// profile shows one user (API §2.4).
func (g *Gateway) profile(ctx context.Context, q *request) (answer, error) {
	id, err := q.userID()
	if err != nil {
		return nil, err
	}
	f := g.facts(ctx, q, nil, []int64{id}, nil)
	if id == q.viewer {
		f.works = g.ownWorks(ctx, q)
	}
	card, found := f.user(q.links, id)
	if !found {
		return nil, errNoUser()
	}
	return &userAnswer{success("获取用户信息成功"), &card}, nil
}

// ownWorks counts the viewer's works, with those that nobody else sees yet.
func (g *Gateway) ownWorks(ctx context.Context, q *request) map[int64]int64 {
	var works map[int64]int64
	gather(ctx, q.missing, g.rpc.counts, []*video.WorkCountsRequest{{ViewerId: q.viewer, UserIds: []int64{q.viewer}}},
		func(resp *video.WorkCountsResponse) { works = resp.GetWorkCounts() })
	return works
}

// userExists asks the user service, for a write, about whom nobody has seen yet.
// Without its answer there is none.
func (g *Gateway) userExists(ctx context.Context, id int64) error {
	if g.memory.knowsUser(id) { // nobody is ever removed
		return nil
	}
	found, err := g.rpc.target.do(ctx, &user.BatchGetRequest{Ids: []int64{id}})
	if err == nil && len(found.GetUsers()) == 0 {
		err = errNoUser()
	}
	return err
}

// userSeen is userExists for a read: while the user service is away everybody
// exists.
func (g *Gateway) userSeen(ctx context.Context, q *request, id int64) error {
	if id == q.viewer || g.memory.knowsUser(id) {
		return nil
	}
	found, err := g.held.users.Get(ctx, id)
	q.missing.take(err)
	switch {
	case found[0] != nil:
		return nil
	case err != nil:
		return errs.Wrap(errs.Unavailable, err, "looking for user %d", id)
	default:
		return errNoUser()
	}
}

func errNoUser() error { return errs.New(errs.NotFound, "用户不存在") }
