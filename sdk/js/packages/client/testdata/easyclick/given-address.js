function main() {
let version = 7;
toast("Hello World - " + version);
//请求服务器是否有新版本
// 使用update.json模式
//let updateResult = hotupdater.updateReq("",0,true,9000);
// 使用自定义的模式 url
let updateResult = hotupdater.updateReq("http://baidu.com",0,true,9000);
logd("请求更新是否有: " + updateResult);
if (!updateResult) {
logw("请求失败错误信息: " + hotupdater.getErrorMsg());
} else {
logd("请求数据: " + hotupdater.getUpdateResp());
//有更新得情况下进行下载新的版本
let path = hotupdater.updateDownload();
logd("下载路径为: " + path);
if (!path) {
logw("下载IEC文件错误信息: " + hotupdater.getErrorMsg());
} else {
restartScript(path, true, 3)
return;
}
}
sleep(1000);
for (var i = 0; i < 10; i++) {
logd(time() + " " + version);
sleep(5000)
}
}

main();
