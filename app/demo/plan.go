package demo

import (
	"context"
	"math/rand/v2"
	"net/url"
	"strconv"
)

// deed is one thing somebody does.
type deed func(ctx context.Context, api *client) error

// plan decides who likes, follows, comments and writes to whom: a few people and
// videos get most of it, as in life.
func plan(chance *rand.Rand, accounts []account, videos []video) []deed {
	var deeds []deed
	act := func(who account, path string, parameters url.Values) {
		deeds = append(deeds, func(ctx context.Context, api *client) error { return api.do(ctx, who, path, parameters) })
	}
	number := func(id int64) []string { return []string{strconv.FormatInt(id, 10)} }
	for i, v := range videos {
		fame := 1 / (1 + float64(i%12)/3)
		for _, who := range accounts {
			if chance.Float64() < fame*0.6 {
				act(who, "/douyin/favorite/action/", url.Values{"video_id": number(v.ID), "action_type": {"1"}})
			}
			if chance.Float64() < fame*0.12 {
				act(who, "/douyin/comment/action/", url.Values{"video_id": number(v.ID), "action_type": {"1"}, "comment_text": {comments[chance.IntN(len(comments))]}})
			}
		}
	}
	for i, who := range accounts {
		for j, whom := range accounts {
			if i == j || chance.Float64() > 1/(1.5+float64(j)/4) {
				continue
			}
			act(who, "/douyin/relation/action/", url.Values{"to_user_id": number(whom.id), "action_type": {"1"}})
			if j < i || chance.Float64() < 0.7 {
				continue
			}
			for turn := range 2 + chance.IntN(3) {
				from, to := who, whom
				if turn%2 == 1 {
					from, to = whom, who
				}
				act(from, "/douyin/message/action/", url.Values{"to_user_id": number(to.id), "action_type": {"1"}, "content": {chats[chance.IntN(len(chats))]}})
			}
		}
	}
	return deeds
}

var names = []string{
	"山野小林", "阿月不吃香菜", "城南旧事", "晚风与猫", "老陈做饭", "一只鹿啊", "北海以北", "糯米团子", "周周在路上", "木子鱼",
	"拾光机", "南风知我意", "小满同学", "深夜食堂长", "滑板少年K", "栗子甜甜", "海边的卡夫卡迷", "阿强修车", "橘子汽水", "云朵收集员",
	"江湖郎中", "七里香", "独行的骆驼", "奶茶三分糖", "跑步的胖虎", "爱画画的夏夏", "理科生小李", "村口大喇叭", "星河入梦", "今天也要加油鸭",
}

var titles = []string{
	"周末爬山，云海太美了", "三分钟学会番茄炒蛋", "我家猫又在拆家", "下班路上的晚霞🌇", "第一次滑雪就翻车", "记录爷爷的老手艺", "成都街头的烟火气", "自己动手做书架", "凌晨四点的菜市场", "考研倒计时30天",
	"海边日出延时摄影", "教你拍出电影感", "这只狗成精了哈哈哈", "老街修表匠的一天", "雨天适合听的歌", "挑战一周不喝奶茶", "奶奶的红烧肉秘方", "大理的风花雪月", "五公里跑进25分钟", "手工耿附体的一天",
	"冬天的第一场雪❄️", "图书馆偶遇神仙同学", "深圳夜景航拍", "宿舍改造前后对比", "小朋友的神回复", "一个人的火锅也很香", "草原上的马群", "自制流体熊", "骑行川藏线第十二天", "弹一首晴天",
	"早八人的一天", "给妈妈的生日惊喜", "这个魔术你看懂了吗", "江南水乡的清晨", "健身一年的变化", "外婆家的小院子", "高铁窗外的中国", "复刻网红蛋糕翻车现场", "猫咪第一次见到雪", "跟着爸爸去赶海",
	"广场舞也能这么燃", "夜市小吃合集", "我的桌面搭建", "毕业快乐，江湖再见", "一秒入冬穿搭", "萌娃学走路", "路边的流浪歌手", "种了三个月的草莓", "城市天际线", "程序员的加班日常",
	"火车穿过油菜花海", "自驾318的第一天", "做一碗兰州牛肉面", "小区里的橘猫帮", "带你看凌晨的机场", "父母的爱情", "古法造纸全过程", "秋天的第一杯奶茶", "星空下的露营⛺️", "新年快乐🎆",
}

var comments = []string{
	"太好看了！", "哈哈哈哈哈笑死", "这是在哪里拍的？", "求教程🙏", "前排围观", "看一次哭一次", "up主太有才了", "已收藏，周末就去", "我家的也这样😂", "配乐叫什么名字",
	"第三遍了还没看够", "羡慕了", "学会了，但没完全学会", "这也太治愈了吧", "支持！", "家乡的味道", "镜头感绝了", "催更催更", "原来可以这样做", "❤️❤️❤️",
}

var chats = []string{
	"在吗？", "你昨天那个视频太棒了", "周末一起去拍吗", "好呀，几点？", "哈哈哈你也看到了", "求原图！", "我也想学", "下次带上我", "晚安🌙", "新的一期什么时候出", "收到", "谢谢关注～",
}
